//! Bodies that are not events, and their errors.

use std::time::{Duration, Instant};

use super::*;
use soundhash_webhook::{EventErrorKind, QuotaWarning};

#[track_caller]
fn says(body: impl AsRef<[u8]>, kind: EventErrorKind, at: Option<(usize, usize)>, text: &str) {
    let error = rejected(body);
    assert_eq!(error.kind(), kind);
    assert_eq!(error.line().zip(error.column()), at);
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_body_that_is_not_json_is_a_syntax_error_with_a_position() {
    let syntax = |body: &[u8], line, column, what: &str| {
        let text = format!("body is not JSON: {what} at line {line} column {column}");
        says(body, EventErrorKind::Syntax, Some((line, column)), &text);
    };
    let lines = b"{\n  \"event\": \"x\",\n  \"data\": {\n    \"a\": -x\n  }\n}";
    syntax(b"", 1, 0, "EOF while parsing a value");
    syntax(b"not json", 1, 2, "expected ident");
    syntax(b"{", 1, 1, "EOF while parsing an object");
    syntax(
        br#"{"type": "x", "data": 1} {}"#,
        1,
        26,
        "trailing characters",
    );
    syntax(br#"{"type": "x", "data": None}"#, 1, 23, "expected value");
    syntax(lines, 4, 11, "invalid number");
    syntax(b"\xef\xbb\xbf{}", 1, 1, "expected value");
}

#[test]
fn bytes_that_are_not_utf_8_are_a_syntax_error_anywhere() {
    for (body, column) in [
        (b"{\"type\": \"x\",\n \"data\": \"\xff\"}".as_slice(), 11),
        (b"{\"type\": \"x\",\n \"new\":  \"\xff\", \"data\": 1}", 11),
        (b"{\"type\": \"x\",\n \"\xed\xa0\xbc\": 1, \"data\": 1}", 3),
    ] {
        let text =
            format!("body is not JSON: invalid unicode code point at line 2 column {column}");
        says(body, EventErrorKind::Syntax, Some((2, column)), &text);
    }
}

#[test]
fn json_that_is_not_an_object_is_not_a_syntax_error() {
    // The last of these bodies is an array with an envelope's values in order.
    let array = r#"["id", null, "x", null, null, null, null, null, null, {}]"#;
    for body in ["[]", "null", "true", "-1.5", r#""text""#, " [ ] ", array] {
        says(
            body,
            EventErrorKind::NotAnObject,
            None,
            "body is JSON, but not an object",
        );
    }
}

#[test]
fn an_object_without_a_type_or_a_payload_is_not_an_event() {
    for body in [
        "{}",
        r#"{"data": 1}"#,
        r#"{"type": null, "event": 5, "data": {}}"#,
    ] {
        says(body, EventErrorKind::MissingType, None, "event has no type");
    }
    for body in [
        r#"{"type": "x"}"#,
        r#"{"event": "user.created", "payload": {}}"#,
    ] {
        says(
            body,
            EventErrorKind::MissingPayload,
            None,
            "event has no payload",
        );
    }
}

#[test]
fn an_error_quotes_nothing_of_the_body() {
    for body in [
        r#"{"type": "SECRET", "data": SECRET}"#,
        r#"{"type": "SECRET", "data": "SECRET\ud83c" SECRET}"#,
        r#"{"SECRET": "SECRET", "data": "SECRET"}"#,
        r#"{"type": "SECRET"}"#,
        r#""SECRET""#,
        r#"["SECRET"]"#,
    ] {
        let error = rejected(body);
        assert!(
            !format!("{error} {error:?}").contains("SECRET"),
            "{error:?}"
        );
    }
}

#[test]
fn deep_nesting_is_rejected_quickly() {
    let start = Instant::now();
    let (open, close) = ("[".repeat(50_000), "]".repeat(50_000));
    let objects = r#"{"a":"#.repeat(50_000);
    let within = format!(r#"{{"type": "x", "data": {open}{close}}}"#);
    for body in [
        &open,
        &format!(r#"{{"type": "x", "data": {open}"#),
        &format!(r#"{{"type": "user.created", "data": {{"email": {open}{close}}}}}"#),
        &format!(r#"{{"type": "x", "data": {objects}"#),
        &within,
    ] {
        assert_eq!(rejected(body).kind(), EventErrorKind::Syntax);
    }
    let text = "body is not JSON: recursion limit exceeded at line 1 column 150";
    says(&within, EventErrorKind::Syntax, Some((1, 150)), text);

    // Skipped values can be nested to any depth.
    let skipped = format!(r#"{{"type": "x", "new": {open}{close}, "data": 1}}"#);
    assert_eq!(read(&skipped), Event::new(Unrecognized::new("x", json!(1))));
    let skipped = format!(
        r#"{{"type": "quota.warning", "data": {{"new": {open}{close},
        "period": "p", "used": 1, "limit": 2, "remaining": 1, "percentage": 50, "reset_at": {open}{close}}}}}"#
    );
    let quota = made!(QuotaWarning {
        period: "p",
        used: 1,
        limit: 2,
        remaining: 1,
        percentage: 50
    });
    assert_eq!(read(&skipped).data, quota.into());

    assert_eq!(
        rejected(format!("{open}{close}")).kind(),
        EventErrorKind::NotAnObject
    );
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn json_within_strings_is_not_read() {
    // With its feature `raw_value`, serde_json's `Value` would parse the inner JSON.
    let (open, close) = ("[".repeat(120), "]".repeat(120));
    let mut bomb = format!("{open}1{close}");
    for _ in 0..16 {
        let text = Value::from(bomb).to_string();
        bomb = format!(r#"{open}{{"$serde_json::private::RawValue":{text}}}{close}"#);
    }
    read(&format!(r#"{{"type": "made.up", "data": {bomb}}}"#));
    read(&format!(
        r#"{{"type": "job.failed", "data": {{"job_id": {bomb}}}}}"#
    ));
}

#[test]
fn a_body_truncated_anywhere_is_a_syntax_error() {
    for (name, body) in captures() {
        for end in 0..body.len() {
            assert_eq!(
                rejected(&body[..end]).kind(),
                EventErrorKind::Syntax,
                "{name} {end}"
            );
        }
    }
}

//! Secrets and signatures: their conversions, their errors, and output that hides them.

use http::HeaderValue;
use soundhash_webhook::{
    Secret, SecretError, SecretErrorKind, Secrets, Signature, SignatureError, SignatureErrorKind,
    SoundHashWebhookLayer,
};

use crate::support::{BODY, SECRET};

/// Other vendors' libraries strip the prefix or decode the rest.
#[test]
fn a_whsec_prefix_is_part_of_the_key() {
    let whole = Secret::new("whsec_dGVzdA==").sign(b"{}");
    for other in ["dGVzdA==", "test", "whsec_"] {
        assert_ne!(Secret::new(other).sign(b"{}"), whole);
    }
}

#[test]
fn a_signature_is_read_in_any_case_and_printed_in_lower() {
    let digits = "ABCDEF0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789";
    let signature: Signature = digits.parse().unwrap();
    assert_eq!(signature.to_string(), digits.to_lowercase());
    assert_eq!(signature, digits.to_lowercase().parse().unwrap());
    assert_eq!(HeaderValue::from(signature), digits.to_lowercase());
}

// ---- errors

/// Attack: an unset variable becomes an empty key, which anyone can sign with.
#[test]
fn an_empty_secret_is_an_error_and_panics_only_where_that_is_documented() {
    let errors = [
        Secret::try_from(""),
        Secret::try_from(String::new()),
        Secret::try_from(&[][..]),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), SecretErrorKind::Empty);
        assert_eq!(error.to_string(), "secret is empty");
        assert_eq!(error.variable(), None);
    }
    let panics: [fn(); 5] = [
        || drop(Secret::new("")),
        || drop(Secrets::new("")),
        || drop(Secrets::new("a").previous(String::new())),
        || drop(SoundHashWebhookLayer::new(&[][..])),
        || drop(SoundHashWebhookLayer::new("a").previous_secret(String::new())),
    ];
    for make in panics {
        let panic = std::panic::catch_unwind(make).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "secret is empty");
    }
}

/// The panic must point to the user's code rather than this crate.
#[test]
fn the_panic_about_an_empty_secret_names_the_callers_line() {
    use std::{panic, sync::mpsc};
    let (send, lines) = mpsc::channel();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Other tests in this process can panic at the same time, so panics in other files are
        // ignored.
        if info.location().is_some_and(|it| it.file() == file!()) {
            let _ = send.send(info.location().map(panic::Location::line));
        }
    }));
    let line = line!() + 1;
    let result = panic::catch_unwind(|| SoundHashWebhookLayer::new(""));
    panic::set_hook(hook);
    assert!(result.is_err());
    assert!(lines.try_iter().any(|it| it == Some(line)));
}

/// The environment is shared by the whole process, so each case runs in a new process.
#[test]
fn a_secret_from_the_environment_is_checked() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt, process::Command};
    let check = |value: Option<OsString>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let test = "secret::child_reads_the_environment";
        child.args(["--exact", test, "--nocapture"]);
        child.env("SOUNDHASH_TEST_CHILD", "1");
        match value {
            Some(value) => child.env("SOUNDHASH_TEST_SECRET", value),
            None => child.env_remove("SOUNDHASH_TEST_SECRET"),
        };
        let output = child.output().unwrap();
        assert!(output.status.success());
        let stdout = String::from_utf8(output.stdout).unwrap();
        let (_, result) = stdout.split_once("result: ").unwrap();
        result.lines().next().unwrap().to_owned()
    };
    let signed = Secret::new("whsec_test").sign(b"").to_string();
    assert_eq!(check(Some("whsec_test".into())), signed);
    assert_eq!(check(None), "SOUNDHASH_TEST_SECRET is not set");
    let empty = check(Some("".into()));
    assert_eq!(empty, "SOUNDHASH_TEST_SECRET is empty");
    let padding = "starts or ends with whitespace: remove it";
    for padded in [
        "whsec_test\n",
        " whsec_test",
        "whsec_test\r\n",
        "\t",
        "whsec\u{a0}",
    ] {
        let error = check(Some(padded.into()));
        assert_eq!(error, format!("SOUNDHASH_TEST_SECRET {padding}"));
    }
    for quoted in ["\"whsec\"", "'whsec'", "`whsec`", "\u{201c}whsec\u{201d}"] {
        let error = check(Some(quoted.into()));
        assert_eq!(error, "SOUNDHASH_TEST_SECRET is in quotes: remove them");
    }
    for invisible in [
        "\u{feff}whsec",
        "whsec\u{200b}_a",
        "whsec\u{2060}",
        "a\u{7}b",
    ] {
        let error = check(Some(invisible.into()));
        let start = "SOUNDHASH_TEST_SECRET contains an invisible character, ";
        assert!(error.starts_with(start), "{error}");
    }
    // Quotes inside a secret are part of the secret.
    let signed = Secret::new("it's \"good\" 5'").sign(b"").to_string();
    assert_eq!(check(Some("it's \"good\" 5'".into())), signed);
    let not_unicode = OsString::from_vec(vec![0xff]);
    let not_unicode = check(Some(not_unicode));
    assert_eq!(not_unicode, "SOUNDHASH_TEST_SECRET is not Unicode");
}

#[test]
fn every_form_of_a_key_is_the_same_secret() {
    use zeroize::Zeroizing;

    let (secret, string) = (Secret::new(SECRET), String::from(SECRET));
    let signature = HeaderValue::from(secret.sign(BODY));
    for secrets in [
        Secrets::new(SECRET),
        Secrets::new(String::from(SECRET)),
        Secrets::new(&string),
        Secrets::new(Secret::new(SECRET)),
        Secrets::new(&secret),
        Secrets::new(Zeroizing::new(String::from(SECRET))),
        Secrets::new(SECRET.as_bytes()),
        Secrets::new(SECRET.as_bytes().to_vec()),
        Secrets::new(Zeroizing::new(SECRET.as_bytes().to_vec())),
        Secrets::new(b"whsec_test"),
        Secrets::new(*b"whsec_test"),
        Secret::try_from(SECRET).unwrap().into(),
        Secret::try_from(SECRET.as_bytes()).unwrap().into(),
        Secret::try_from(string.clone()).unwrap().into(),
    ] {
        assert_eq!(secrets.verify(&signature, BODY), Ok(0));
    }
    let rotated = Secrets::new("whsec_new").previous(SECRET);
    assert_eq!(rotated.verify(&signature, BODY), Ok(1));
    let error = rotated.verify(&signature, b"another body").unwrap_err();
    assert_eq!(error.kind(), SignatureErrorKind::Mismatch);
}

#[test]
fn child_reads_the_environment() {
    if std::env::var_os("SOUNDHASH_TEST_CHILD").is_some() {
        match Secret::from_env("SOUNDHASH_TEST_SECRET") {
            Ok(secret) => println!("result: {}", secret.sign(b"")),
            Err(error) => println!("result: {error}"),
        }
    }
}

#[test]
fn secrets_are_parsed_from_the_lines_of_a_file() {
    let signature = HeaderValue::try_from(Secret::new(SECRET).sign(BODY).to_string()).unwrap();
    for (text, index) in [
        ("whsec_test", 0),
        ("whsec_test\r\nwhsec_old\r\n", 0),
        ("\nwhsec_new\n\nwhsec_test\n\n", 1),
    ] {
        let secrets: Secrets = text.parse().unwrap();
        assert_eq!(secrets.verify(&signature, BODY), Ok(index), "{text:?}");
    }
    for (text, kind) in [
        ("", SecretErrorKind::Empty),
        ("\n\r\n", SecretErrorKind::Empty),
        ("a\nb\nc\nd\ne", SecretErrorKind::TooMany),
        // A comment would be a secret that anyone can guess.
        (
            "# current\nnew\n# previous\nold\n",
            SecretErrorKind::Comment,
        ),
        ("a\n b", SecretErrorKind::SurroundingWhitespace),
        ("a\n\t\n", SecretErrorKind::SurroundingWhitespace),
        ("'a'", SecretErrorKind::Quoted),
        ("\u{feff}a", SecretErrorKind::InvisibleCharacter),
        ("a\0", SecretErrorKind::InvisibleCharacter),
    ] {
        assert_eq!(
            text.parse::<Secrets>().unwrap_err().kind(),
            kind,
            "{text:?}"
        );
    }
}

#[test]
fn at_most_four_secrets_are_valid_at_once() {
    let four = Secrets::new("a").previous("b").previous("c").previous("d");
    assert_eq!(four.len(), Secrets::MAX);
    let panic = std::panic::catch_unwind(|| four.previous("e")).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "more than four secrets");

    let list = |n| vec![Secret::new("x"); n];
    let kind = |list: Vec<Secret>| Secrets::try_from(list).unwrap_err().kind();
    assert_eq!(Secrets::try_from(list(4)).unwrap().len(), 4);
    assert_eq!(kind(list(5)), SecretErrorKind::TooMany);
    assert_eq!(kind(list(0)), SecretErrorKind::Empty);
}

// ---- what is never shown

/// Attack: read the log.
#[test]
fn debug_shows_no_secret() {
    let secret = Secret::new("s3cr3t");
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(
        format!("{:?}", Secrets::from(secret.clone())),
        "Secrets { labels: [None], endpoint: None, .. }"
    );
    let labeled = secret.clone().label("2026-11");
    assert_eq!(format!("{labeled:?}"), r#"Secret("2026-11")"#);
    assert_eq!(format!("{:?}", secret.sign(b"")), "Signature(..)");
}

#[test]
fn types_can_be_shared_between_threads() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + Unpin + 'static>() {}
    fn error<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    check::<Secret>();
    check::<Secrets>();
    check::<Signature>();
    error::<SecretError>();
    error::<SignatureError>();
}

use std::borrow::Cow;

use super::{
    diagnosis::{DiagnosisKind, Mistake},
    layout::layouts,
};

/// What may have been signed.
pub(super) struct Body<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) mistake: Option<Mistake>,
}

/// `body` as it is, and as it may have been before the usual mistakes.
pub(super) fn bodies(body: &[u8]) -> Vec<Body<'_>> {
    let mut bodies = vec![Body {
        bytes: body.into(),
        mistake: None,
    }];
    let mut add = |bytes: Cow<'static, [u8]>, mistake| {
        bodies.push(Body {
            bytes,
            mistake: Some(mistake),
        });
    };
    if body.is_empty() {
        // Of what was signed nothing is left to guess from.
        return bodies;
    }

    let what = "The signature is that of an empty body.";
    add((&[]).into(), DiagnosisKind::EmptyBody.mistake(what));

    let what = "The body given here has a line end that was not signed.";
    for end in [&b"\r\n"[..], b"\n", b"\r"] {
        if let Some(rest) = body.strip_suffix(end) {
            let rest = rest.to_vec().into();
            add(rest, DiagnosisKind::LineEnd.mistake(what));
        }
    }
    let what = "The body that was signed has a line end that the one given here lacks.";
    for end in [&b"\n"[..], b"\r\n"] {
        let longer = [body, end].concat().into();
        add(longer, DiagnosisKind::LineEnd.mistake(what));
    }
    if body.contains(&b'\n') {
        let what = "Other line ends were signed: CR LF became LF, or LF became CR LF.";
        let lf: Vec<u8> = body
            .split(|&byte| byte == b'\r')
            .flatten()
            .copied()
            .collect();
        let crlf: Vec<&[u8]> = lf.split(|&byte| byte == b'\n').collect();
        let crlf = crlf.join(&b"\r\n"[..]).into();
        add(crlf, DiagnosisKind::LineEnd.mistake(what));
        add(lf.into(), DiagnosisKind::LineEnd.mistake(what));
    }

    let what = "The body is the JSON that was signed, but written anew.";
    for layout in layouts(body) {
        add(layout.into(), DiagnosisKind::Reserialized.mistake(what));
    }
    bodies
}

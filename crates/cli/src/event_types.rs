//! Warns about event types that may be misspelled.

use soundhash_webhook::EventKind;

use crate::{output, output::escape::escape};

/// Warns about types that SoundHash does not currently have, and suggests the closest match.
pub(crate) fn warn_of_unknown(types: &[String]) {
    for name in types
        .iter()
        .filter(|name| name.parse::<EventKind>().is_err())
    {
        let closest = EventKind::ALL
            .iter()
            .map(|kind| (strsim::osa_distance(name, kind.as_str()), kind.as_str()))
            .min()
            .filter(|(distance, _)| distance * 3 <= name.chars().count());
        let closest = closest.map(|(_, kind)| format!(" Do you mean `{kind}`?"));
        output::warning(format_args!(
            "`{}` is not an event type that this version knows.{}",
            escape(name),
            closest.unwrap_or_default()
        ));
    }
}

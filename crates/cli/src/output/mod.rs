//! Everything that a command prints: results on standard output, other messages on standard error.
//!
//! - `writer`: a bounded queue and a thread for each of the two streams
//! - `table`: tables, and lists of names and values
//! - `escape`: makes untrusted text harmless

pub(crate) mod escape;
pub(crate) mod table;
mod writer;

use std::{
    fmt,
    fs::{self, File},
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
};

use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSeparator, WordSplitter, core::Word};

use self::writer::Writer;
use crate::{error::Error, signals};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const INFO: Style = AnsiColor::Cyan.on_default();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// The maximum width of prose on a terminal, and the assumed width outside a terminal.
const WIDTH: usize = 80;

static STDOUT: Writer = Writer::new("standard output", warning);
static STDERR: Writer = Writer::new("standard error", warning);

fn write_result(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    // Flushes each line, so that the process that reads a pipe gets it immediately.
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

fn write_remark(text: &str) -> io::Result<()> {
    writeln!(anstream::stderr(), "{text}")
}

/// Colors `text`. `anstream` removes the color if the stream is not a terminal.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Queues one line of the command's result for standard output, without waiting. [`finish`] returns
/// an error if it cannot be written.
pub(crate) fn line(text: impl fmt::Display) {
    STDOUT.push(write_result, text.to_string(), false);
}

/// Like [`line()`], for output without an end: drops the line if too many wait.
pub(crate) fn line_without_end(text: impl fmt::Display) {
    STDOUT.push(write_result, text.to_string(), true);
}

/// Ends the last line of a file to which standard output is appended, because a full disk or a loss
/// of power may have cut it off.
pub(crate) fn end_last_line() {
    const STDOUT: &str = "/dev/stdout";
    let has_lines = fs::metadata(STDOUT).is_ok_and(|it| it.is_file() && it.len() > 0);
    // macOS does not open a file again that is only open for writing. An empty line does no harm.
    if has_lines && last_byte(STDOUT).ok() != Some(b'\n') {
        line("");
    }
}

fn last_byte(path: &str) -> io::Result<u8> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last[0])
}

/// Prints an API response without reformatting it.
pub(crate) fn print_json(response: &[u8]) {
    line(escape::harmless_json(&String::from_utf8_lossy(response)));
}

/// Queues a paragraph for standard output, wrapped to fit a terminal.
pub(crate) fn paragraph(text: impl fmt::Display) {
    line(match io::stdout().is_terminal() {
        true => wrapped(&text.to_string(), WIDTH.min(columns())),
        false => text.to_string(),
    });
}

/// Queues a message for standard error, escaped and wrapped to fit a terminal.
pub(crate) fn note(text: impl fmt::Display) {
    note_after(None, &text);
}

/// Queues a message after a styled word.
fn note_after(word: Option<String>, text: &dyn fmt::Display) {
    // A server or a sender may have chosen a part of the text.
    let lines: Vec<_> = text.to_string().split('\n').map(escape::escape).collect();
    let start = word.map(|word| word + " ").unwrap_or_default();
    let text = start + &lines.join("\n");
    note_as_is(match io::stderr().is_terminal() {
        true => wrapped(&text, WIDTH.min(columns())),
        false => text,
    });
}

/// Queues a line for standard error without wrapping it, so that it can be copied.
pub(crate) fn note_as_is(text: impl fmt::Display) {
    // If both streams go to a terminal, a single queue keeps results and messages in order.
    match io::stdout().is_terminal() && io::stderr().is_terminal() {
        true => STDOUT.push(write_remark, text.to_string(), false),
        false => STDERR.push(write_remark, text.to_string(), true),
    }
}

pub(crate) fn warning(text: impl fmt::Display) {
    note_after(Some(paint(WARNING.bold(), "warning:")), &text);
}

pub(crate) fn error(error: &Error) {
    note_after(Some(paint(BAD.bold(), "error:")), error);
}

/// Returns an error if there is no terminal on which [`confirm`] could ask its question. `action`
/// completes the phrase "give --yes to …".
pub(crate) fn require_terminal(action: &str) -> Result<(), Error> {
    match io::stdin().is_terminal() {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "there is no terminal to ask for confirmation: give --yes to {action}"
        ))),
    }
}

/// Prints a question, and returns whether the user replied with yes.
pub(crate) async fn confirm(question: &str) -> Result<bool, Error> {
    // The user must see the earlier output before replying.
    STDOUT.written().await;
    STDERR.written().await;
    let mut stderr = anstream::stderr();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut reply = String::new();
    io::stdin()
        .read_line(&mut reply)
        .map_err(|error| Error::failed(format!("cannot read the reply: {error}")))?;
    Ok(matches!(
        reply.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Waits until all output is written, but no longer than `signals::patience` allows, and reports
/// lost lines. Returns an error if a line could not be written.
pub(crate) async fn finish() -> Result<(), Error> {
    let written = async |writer: &'static Writer| {
        tokio::select! {
            biased;
            () = writer.written() => {}
            () = signals::patience() => {}
        }
    };
    written(&STDOUT).await;
    if let Some(lost) = STDOUT.lost() {
        warning(lost);
    }
    written(&STDERR).await;
    Ok(STDOUT.error()?)
}

/// Resolves once the process that reads standard output is gone.
pub(crate) async fn closed() {
    STDOUT.closed().await;
}

/// Returns the terminal's width in columns, or a default outside a terminal.
pub(crate) fn columns() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0.into())
}

/// Wraps long lines between words. Commands in backticks are never broken, so that they can be
/// copied.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    let options = Options::new(columns)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
        .word_separator(WordSeparator::Custom(|line| {
            let mut is_in_backticks = false;
            let end_of_word = move |character: char| {
                is_in_backticks ^= character == '`';
                character == ' ' && !is_in_backticks
            };
            Box::new(line.split_inclusive(end_of_word).map(Word::from))
        }));
    textwrap::fill(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_and_commands_are_not() {
        let words = "word ".repeat(20);
        let text = format!("  a\n\n{words}`a command that is not broken`. end");
        let lines = wrapped(&text, 80);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[..2], ["  a", ""]);
        assert_eq!(lines[2], &words[..79]);
        assert_eq!(
            lines[3],
            format!("{}`a command that is not broken`. end", &words[80..])
        );
        assert_eq!(wrapped("short", 80), "short");
        let colored = paint(BAD.bold(), "error:") + " the rest";
        assert_eq!(wrapped(&colored, 15), colored);
    }
}

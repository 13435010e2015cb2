//! Tables on standard output, and lists of names and values.

use std::{
    io::{self, IsTerminal},
    iter,
};

use anstyle::Style;
use console::{Alignment, pad_str};
use textwrap::core::display_width;

use super::{BOLD, DIM, columns, escape::escape, line, paint, wrapped};

/// The minimum width of a wrapped column.
const NARROWEST: usize = 16;
const GAP: usize = 2;

/// The text of a cell, which can have several lines.
pub(crate) struct Cell {
    text: String,
    style: Style,
    is_number: bool,
}

impl Cell {
    fn width(&self) -> usize {
        self.text.lines().map(display_width).max().unwrap_or(0)
    }

    fn longest_word(&self) -> usize {
        let words = self.text.split_whitespace().map(display_width);
        words.max().unwrap_or(0)
    }

    fn padded(&self, line: &str, width: usize) -> String {
        let align = [Alignment::Left, Alignment::Right][usize::from(self.is_number)];
        pad_str(&paint(self.style, line), width, align, None).into_owned()
    }
}

/// Returns a cell with the given text, which is escaped because it may be untrusted.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and strings are made in place"
)]
pub(crate) fn cell(style: Style, text: impl ToString) -> Cell {
    Cell {
        text: escape(&text.to_string()),
        style,
        is_number: false,
    }
}

pub(crate) fn plain(text: impl ToString) -> Cell {
    cell(Style::new(), text)
}

pub(crate) fn number(style: Style, number: impl ToString) -> Cell {
    Cell {
        is_number: true,
        ..cell(style, number)
    }
}

/// Returns a cell with one entry per line.
pub(crate) fn lines<'a>(entries: impl IntoIterator<Item = &'a String>) -> Cell {
    let entries: Vec<_> = entries.into_iter().map(|entry| escape(entry)).collect();
    Cell {
        text: entries.join("\n"),
        ..plain("")
    }
}

/// Prints rows below a header with the bar-separated column names in `names`. If a row does not fit
/// the terminal even with its last cell wrapped, prints every row as a list of fields instead.
pub(crate) fn print<const N: usize>(names: &str, rows: impl IntoIterator<Item = [Cell; N]>) {
    let mut names = names.split('|');
    let names: [&str; N] = std::array::from_fn(|_| names.next().unwrap_or_default());
    let rows: Vec<_> = rows.into_iter().collect();
    let mut widths = names.map(display_width);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    if let Some(columns) = terminal() {
        let last = N - 1;
        let others: usize = widths[..last].iter().map(|width| width + GAP).sum();
        let room = columns.saturating_sub(others);
        let longest = rows.iter().map(|row| row[last].longest_word()).max();
        if widths[last] > room && room < longest.unwrap_or(0).max(NARROWEST) {
            let records = rows
                .iter()
                .map(|row| fields(iter::zip(names, row).filter(|(_, cell)| !cell.text.is_empty())));
            line(records.collect::<Vec<_>>().join("\n\n"));
            return;
        }
        widths[last] = widths[last].min(room);
    }
    let numbers: [bool; N] = std::array::from_fn(|i| rows.iter().any(|row| row[i].is_number));
    let header: [Cell; N] = std::array::from_fn(|i| Cell {
        is_number: numbers[i],
        ..cell(BOLD, names[i])
    });
    let printed: Vec<_> = iter::once(&header)
        .chain(&rows)
        .map(|row| print_row(row, &widths))
        .collect();
    line(printed.join("\n"));
}

fn print_row<const N: usize>(row: &[Cell; N], widths: &[usize; N]) -> String {
    let texts: Vec<_> = iter::zip(row, widths)
        .map(|(cell, width)| wrapped(&cell.text, *width))
        .collect();
    let height = texts.iter().map(|text| text.lines().count()).max();
    let lines = (0..height.unwrap_or(0)).map(|index| {
        let cells = iter::zip(row, widths)
            .zip(&texts)
            .map(|((cell, width), text)| {
                cell.padded(text.lines().nth(index).unwrap_or_default(), *width)
            });
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints a list of names and values, with the values aligned.
pub(crate) fn print_fields(rows: &[(&str, Cell)]) {
    line(fields(rows.iter().map(|(name, cell)| (*name, cell))));
}

fn fields<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Cell)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let names = rows.iter().map(|(name, _)| display_width(name)).max();
    let indent = names.unwrap_or(0) + GAP;
    let mut printed = Vec::new();
    for (name, cell) in rows {
        let text = match terminal() {
            Some(columns) => wrapped(&cell.text, columns.saturating_sub(indent)),
            None => cell.text.clone(),
        };
        let mut name = paint(DIM, name) + &" ".repeat(indent - display_width(name));
        for line in text.split('\n') {
            printed.push((name + &paint(cell.style, line)).trim_end().to_owned());
            name = " ".repeat(indent);
        }
    }
    printed.join("\n")
}

/// Returns the terminal's width, or `None` if lines can be of any length.
fn terminal() -> Option<usize> {
    io::stdout().is_terminal().then(columns)
}

//! Rows as they are printed: an aligned table for people, CSV for a spreadsheet. What is JSON already is printed as it is.

use crate::{
    error::CommandError,
    print::{Shown, line, shown, text},
};
use clap::{Args, ValueEnum};
use quadrille::excerpt;

/// Bytes of a cell that a table shows, but for the last of a row.
const CELL_BYTES_MAX: usize = 60;

/// The same of the last one.
const LAST_BYTES_MAX: usize = 400;

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An aligned table, for people.
    #[default]
    Table,
    /// JSON, as --json prints it.
    Json,
    /// CSV with a head, for a spreadsheet: a cell that it might take for a formula begins with an apostrophe.
    Csv,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// How it is printed.
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    output: Option<Format>,
}

impl Output {
    /// What is asked for, by the option or by `--json`.
    pub fn format(self, json: bool) -> Format {
        if json { Format::Json } else { self.output.unwrap_or_default() }
    }

    /// The same of what goes on being told where `goes_on`.
    ///
    /// # Errors
    /// [`CommandError::Usage`] for CSV that goes on: whoever reads it waits for its end.
    pub fn format_of(self, json: bool, goes_on: bool) -> Result<Format, CommandError> {
        match self.format(json) {
            Format::Csv if goes_on => {
                let text = "CSV has an end: what goes on being told is lines of text, or of JSON";
                Err(CommandError::Usage(text.to_owned()))
            }
            format => Ok(format),
        }
    }
}

/// A cell of a row.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    how: Shown,
    is_number: bool,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), how: Shown::Plain, is_number: false }
    }

    pub fn number(number: impl ToString) -> Self {
        Self { text: number.to_string(), how: Shown::Plain, is_number: true }
    }

    #[must_use]
    pub fn shown(self, how: Shown) -> Self {
        Self { how, ..self }
    }
}

/// A table, held as a whole: its columns are as wide as what is in them.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new<Name: Into<String>>(head: impl IntoIterator<Item = Name>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it for people; nothing where there is no row.
    pub fn print(&self) {
        self.lines().iter().for_each(line);
    }

    /// The same line by line.
    pub fn lines(&self) -> Vec<String> {
        let last = self.head.len().saturating_sub(1);
        let cut =
            |at: usize, text: &str| excerpt(text, if at == last { LAST_BYTES_MAX } else { CELL_BYTES_MAX });
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cut(at, &cell.text).chars().count()).max().unwrap_or(0);
            widest.max(self.head[at].chars().count())
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let is_number = |at: usize| self.rows.iter().all(|row| row.get(at).is_none_or(|cell| cell.is_number));
        let padded = |at: usize, text: &str| match (is_number(at), at == last) {
            (true, _) => format!("{text:>width$}", width = widths[at]),
            (false, true) => text.to_owned(),
            (false, false) => format!("{text:width$}", width = widths[at]),
        };
        if self.rows.is_empty() {
            return Vec::new();
        }
        let head: Vec<String> = self.head.iter().enumerate().map(|(at, name)| padded(at, name)).collect();
        let head = shown(head.join("  ").trim_end(), Shown::Dim);
        let rows = self.rows.iter().map(|row| {
            let cells = row.iter().enumerate();
            let cells: Vec<String> =
                cells.map(|(at, cell)| shown(&padded(at, &cut(at, &cell.text)), cell.how)).collect();
            cells.join("  ").trim_end().to_owned()
        });
        std::iter::once(head).chain(rows).collect()
    }

    /// Prints it as CSV, its head too.
    ///
    /// # Errors
    /// What can't be written as text, which all of it is.
    pub fn print_csv(&self) -> Result<(), CommandError> {
        let mut rows = Csv::begin(&self.head)?;
        self.rows.iter().try_for_each(|row| rows.row(row.iter().map(|cell| cell.text.as_str())))
    }
}

/// CSV, row by row: it is never held as a whole.
pub struct Csv(());

impl Csv {
    /// Begins with the head.
    ///
    /// # Errors
    /// As of [`row`](Self::row).
    pub fn begin<Name: AsRef<str>>(head: &[Name]) -> Result<Self, CommandError> {
        let mut csv = Self(());
        csv.row(head.iter().map(AsRef::as_ref))?;
        Ok(csv)
    }

    /// # Errors
    /// What can't be written as text, which all of it is.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) -> Result<(), CommandError> {
        let failed = |error: &dyn std::fmt::Display| CommandError::Failed(format!("CSV: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(cells.into_iter().map(harmless)).map_err(|error| failed(&error))?;
        let row = writer.into_inner().map_err(|error| failed(&error))?;
        text(String::from_utf8_lossy(&row));
        Ok(())
    }
}

/// A cell that no spreadsheet takes for a formula.
fn harmless(cell: &str) -> String {
    let is_number = cell.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && cell.parse::<f64>().is_ok();
    let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if begins && !is_number { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_cell_that_a_spreadsheet_might_run_begins_with_an_apostrophe() {
        for formula in
            ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-inf", "+", "-"]
        {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        for plain in ["", "order-1", "-5", "+5.25e-3", "a=1", "2026-11-30T00:00:00Z", "'x"] {
            assert_eq!(harmless(plain), plain);
        }
    }
}

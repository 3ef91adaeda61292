//! The tables.

use std::{fmt::Write, fs, path::Path, process::Command};

use crate::{
    Result,
    measure::{Figure, Work},
    row::Row,
    run::Results,
    server::Paths,
    targets::TARGETS,
    usage,
};

const BEGIN: &str = "<!-- begin: make bench -->";
const END: &str = "<!-- end: make bench -->";

/// A column: its title and its figure.
type Column = (&'static str, Work, Figure);

const MESSAGES: &[Column] = &[
    ("64 B: µs/msg", Work::Echo, Figure::Cpu),
    ("msg/s", Work::Echo, Figure::Rate),
    ("p50 µs", Work::Echo, Figure::Median),
    ("p99 µs", Work::Echo, Figure::Tail),
    ("16 in flight: µs/msg", Work::Pipelined, Figure::Cpu),
    ("4 KiB: µs/msg", Work::Large, Figure::Cpu),
    ("4,000 busy: µs/msg", Work::Busy, Figure::Cpu),
    ("5,000/s: µs/msg", Work::Paced, Figure::Cpu),
    ("p50 µs", Work::Paced, Figure::Median),
    ("p99 µs", Work::Paced, Figure::Tail),
];
const REST: &[Column] = &[
    ("down: ms/MiB", Work::Down, Figure::CpuPerMib),
    ("MB/s", Work::Down, Figure::Speed),
    ("up: ms/MiB", Work::Up, Figure::CpuPerMib),
    ("MB/s", Work::Up, Figure::Speed),
    (
        "connect, echo, close: µs",
        Work::Churn,
        Figure::CpuPerConnection,
    ),
    ("conn/s", Work::Churn, Figure::Rate),
    ("idle: KiB", Work::Idle, Figure::Memory),
    ("after an echo: KiB", Work::Idle, Figure::MemoryAfter),
    ("all closed: KiB", Work::Idle, Figure::MemoryLeft),
    ("stalled: KiB", Work::Stall, Figure::Memory),
    ("% CPU", Work::Stall, Figure::Busy),
];
/// What is also told as ratios.
const RATIOS: &[Column] = &[
    ("64 B", Work::Echo, Figure::Cpu),
    ("16 in flight", Work::Pipelined, Figure::Cpu),
    ("4 KiB", Work::Large, Figure::Cpu),
    ("4,000 busy", Work::Busy, Figure::Cpu),
    ("5,000/s, p50", Work::Paced, Figure::Median),
    ("5,000/s, p99", Work::Paced, Figure::Tail),
    ("down", Work::Down, Figure::CpuPerMib),
    ("up", Work::Up, Figure::CpuPerMib),
    (
        "connect, echo, close",
        Work::Churn,
        Figure::CpuPerConnection,
    ),
    ("idle memory after an echo", Work::Idle, Figure::MemoryAfter),
];

pub(crate) fn text(results: &Results, paths: &Paths) -> String {
    let mut out = String::new();
    head(&mut out, results, paths);
    table(&mut out, results, "Messages", MESSAGES);
    table(&mut out, results, "Bulk, connections and memory", REST);
    streams(&mut out, results);
    ratios(&mut out, results);
    targets(&mut out, results);
    if !results.failures.is_empty() {
        out.push_str("\nRuns that failed:\n\n");
        for failure in &results.failures {
            _ = writeln!(out, "- {failure}");
        }
    }
    out
}

fn head(out: &mut String, results: &Results, paths: &Paths) {
    let (rounds, quick) = (results.rounds, if results.quick { ", quick" } else { "" });
    _ = writeln!(
        out,
        "Measured on {} with {rounds} round{}{quick}: {}.",
        today(),
        if rounds == 1 { "" } else { "s" },
        usage::machine()
    );
    let mut versions = Vec::new();
    let websocat = paths
        .root
        .join("target/rivals/bin/websocat")
        .display()
        .to_string();
    let gateway = paths.gateway.display().to_string();
    for (name, argument) in [
        (gateway.as_str(), "--version"),
        ("haproxy", "-v"),
        ("nginx", "-v"),
        ("lighttpd", "-v"),
        (websocat.as_str(), "--version"),
        ("node", "--version"),
        ("rustc", "--version"),
    ] {
        if let Ok(output) = Command::new(name).arg(argument).output() {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let first = text.lines().next().unwrap_or_default();
            let short = first.split(" - ").next().unwrap_or_default();
            let short = short.split(" (").next().unwrap_or_default();
            let short = short.split(" 20").next().unwrap_or_default();
            let named = if name == "node" {
                format!("node {short}")
            } else {
                short.to_owned()
            };
            versions.push(named);
        }
    }
    _ = writeln!(out, "{}.", versions.join(", "));
    if let Some(start) = results.start() {
        let mib = results.binary as f64 / 1_048_576.0;
        _ = writeln!(
            out,
            "Perigee accepts connections {start:.0} ms after it was started; its binary has {mib:.1} MiB."
        );
    }
    for row in [Row::Plain, Row::Session] {
        if let Some(held) = results.median(row, Work::Hold, Figure::Held) {
            _ = writeln!(out, "{} held {held:.0} tunnels in one process.", row.name());
        }
    }
    let many = |figure| results.median(Row::Plain, Work::HoldMany, figure);
    if let (Some(held), Some(processes), Some(memory)) = (
        many(Figure::Held),
        many(Figure::Processes),
        many(Figure::MemoryAfter),
    ) {
        _ = writeln!(
            out,
            "{} held {} tunnels in {processes:.0} processes at one port, {} KiB for each.",
            Row::Plain.name(),
            number(Some(held)),
            number(Some(memory))
        );
    }
}

fn today() -> String {
    Command::new("date")
        .args(["--utc", "+%Y-%m-%d"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// Rows by columns; columns that nobody has are left out.
fn table(out: &mut String, results: &Results, title: &str, columns: &[Column]) {
    let rows = results.rows();
    let columns: Vec<&Column> = columns
        .iter()
        .filter(|(_, work, figure)| {
            rows.iter()
                .any(|row| results.median(*row, *work, *figure).is_some())
        })
        .collect();
    if columns.is_empty() {
        return;
    }
    _ = writeln!(out, "\n### {title}\n");
    let titles: Vec<&str> = columns.iter().map(|(title, _, _)| *title).collect();
    _ = writeln!(out, "| | {} |", titles.join(" | "));
    _ = writeln!(out, "|---|{}", "--:|".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, work, figure)| number(results.median(row, *work, *figure)))
            .collect();
        if cells.iter().any(|cell| cell != "-") {
            _ = writeln!(out, "| {} | {} |", row.name(), cells.join(" | "));
        }
    }
}

fn ratios(out: &mut String, results: &Results) {
    out.push_str("\n### Ratios\n\n| | | | × HAProxy, TCP | × floor, WebSocket | × best rival | |\n|---|---|--:|--:|--:|--:|---|\n");
    for row in results.rows().into_iter().filter(|row| row.is_ours()) {
        for (title, work, figure) in RATIOS {
            let Some(value) = results.median(row, *work, *figure) else {
                continue;
            };
            let to = |row: Row| {
                let other = results.median(row, *work, *figure)?;
                (other > 0.0).then_some(value / other)
            };
            let best = row
                .rivals()
                .iter()
                .filter_map(|rival| Some((*rival, results.median(*rival, *work, *figure)?)))
                .min_by(|(_, a), (_, b)| a.total_cmp(b));
            _ = writeln!(
                out,
                "| {} | {title} | {} | {} | {} | {} | {} |",
                row.name(),
                number(Some(value)),
                number(to(Row::Haproxy)),
                number(to(Row::FloorWebSocket)),
                number(best.and_then(|(rival, _)| to(rival))),
                best.map_or(String::new(), |(rival, _)| rival.name()),
            );
        }
    }
}

fn streams(out: &mut String, results: &Results) {
    for (row, what) in [
        (Row::Session, "Streams of one session"),
        (
            Row::FloorWebSocket,
            "As many connections through the floor instead",
        ),
    ] {
        let mut cells = Vec::new();
        for streams in [1, 10, 100, 1000] {
            let value = results.median(row, Work::Streams(streams), Figure::Cpu);
            if let Some(value) = value {
                cells.push(format!("{} µs with {streams}", number(Some(value))));
            }
        }
        if !cells.is_empty() {
            _ = writeln!(
                out,
                "\n{what}, one message at a time: {}.",
                cells.join(", ")
            );
        }
    }
}

fn targets(out: &mut String, results: &Results) {
    out.push_str("\n### Targets\n\n| | is | must | aim | |\n|---|--:|--:|--:|---|\n");
    let mut line = |text: &str, is: Option<f64>, must: f64, aim: f64| {
        let verdict = match is {
            None if results.whole => "not measured",
            None => return,
            // Of tunnels there are to be more, of everything else less.
            Some(is) if is <= aim && aim <= must || is >= aim && aim > must => "aim reached",
            Some(is) if is <= must && aim <= must || is >= must && aim > must => "reached",
            Some(_) => "open",
        };
        _ = writeln!(
            out,
            "| {text} | {} | {} | {} | {verdict} |",
            number(is),
            limit(must),
            limit(aim)
        );
    };
    for target in TARGETS {
        line(target.text, target.is(results), target.must, target.aim);
    }
    line(
        "ms until it accepts connections",
        results.start(),
        50.0,
        50.0,
    );
    let mib = results.binary as f64 / 1_048_576.0;
    line("MiB of its binary", Some(mib), 15.0, 15.0);
    for row in [Row::Plain, Row::Session] {
        let held = results.median(row, Work::Hold, Figure::Held);
        let text = format!("tunnels held in one process, {}", row.name());
        line(&text, held, 9_900.0, 9_900.0);
    }
    let held = results.median(Row::Plain, Work::HoldMany, Figure::Held);
    line(
        "tunnels held in several processes at one port",
        held,
        9_900.0,
        250_000.0,
    );
}

/// A bound as it was set.
fn limit(bound: f64) -> String {
    if bound >= 1_000.0 {
        number(Some(bound))
    } else {
        bound.to_string()
    }
}

/// Three digits that count.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 10_000.0 => {
            let whole = format!("{value:.0}");
            let mut grouped = String::new();
            for (at, digit) in whole.chars().enumerate() {
                if at > 0 && (whole.len() - at).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) if value >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// Puts the tables between the markers of a document.
pub(crate) fn keep(document: &Path, text: &str) -> Result<()> {
    let old = fs::read_to_string(document)?;
    fs::write(document, replaced(&old, text)?)?;
    Ok(())
}

fn replaced(old: &str, text: &str) -> Result<String> {
    let missing = || format!("the document lacks the line {BEGIN} or {END}");
    let (before, rest) = old.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{text}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (None, "-"),
            (Some(0.1234), "0.123"),
            (Some(1.234), "1.23"),
            (Some(12.34), "12.3"),
            (Some(123.4), "123"),
            (Some(9_999.0), "9999"),
            (Some(12_345.6), "12,346"),
            (Some(1_234_567.0), "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replaced(&old, "new\n").expect("it has both");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        replaced("a", "new").expect_err("it has none");
    }
}

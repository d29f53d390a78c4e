//! `allmende bench`: arguments and output of a measurement.

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;

use crate::show;
use allmende_lab::names::{CodecKind, Mode, PayloadKind, TransportKind, Wait};
use allmende_lab::options::{GREATEST_RATE, parse_size};
use allmende_lab::output::{csv, json, report, table};
use allmende_lab::{LabError, Options, clean_up_on_signals, measure};
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

const AFTER: &str = "\
Two processes, each pinned to a core, exchange messages that are written and read in full and checked. \
Beside every contender the floor is measured: two flags on two cache lines. \
Compare ratios to the floor; times do not travel.

Examples:
  allmende bench --quick
  allmende bench --input measurements.parquet --sizes 4K,1M
  allmende bench --transport pipe,raw-sync --codec none,pickle --payload records --seconds 20
  allmende bench --rate 10000 --sizes 64 --seconds 20
  allmende bench --format json > result.json";

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// Fewer contenders and sizes: done within half a minute, instead of three minutes.
    #[arg(long)]
    quick: bool,
    /// How to write the result on standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Also write an HTML page with plots, and the rows as JSON and CSV, into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Send your own file, cut into messages of each size.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Message sizes, such as 64,4K,1M.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = parse_size)]
    sizes: Vec<usize>,
    /// What carries the bytes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = named::<TransportKind>(TransportKind::ALL.iter().map(|kind| (kind.name(), kind.help()))))]
    transport: Vec<TransportKind>,
    /// What makes bytes of values.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = named::<CodecKind>(CodecKind::ALL.iter().map(|kind| (kind.name(), kind.help()))))]
    codec: Vec<CodecKind>,
    /// What the messages consist of.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = named::<PayloadKind>(PayloadKind::ALL.iter().map(|kind| (kind.name(), kind.help()))))]
    payload: Vec<PayloadKind>,
    /// How processes wait for messages.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = named::<Wait>(Wait::ALL.iter().map(|kind| (kind.name(), kind.help()))))]
    wait: Vec<Wait>,
    /// Which question to answer.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = named::<Mode>(Mode::ALL.iter().map(|kind| (kind.name(), kind.help()))))]
    mode: Vec<Mode>,
    /// Send so many messages a second, each at its time, late or not: the mode `paced`.
    #[arg(long, value_name = "MESSAGES_PER_S", value_parser = clap::value_parser!(u64).range(1..=GREATEST_RATE))]
    rate: Option<u64>,
    /// Do not try what each way does when a process is killed (it takes two seconds).
    #[arg(long)]
    no_crash: bool,
    /// How long to measure, in seconds; what each way does when a process is killed comes on top.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
}

/// How to write the result.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Tables for people, with the finding in plain sentences.
    Table,
    /// One JSON object.
    Json,
    /// Rows of comma-separated values.
    Csv,
}

/// A parser that knows all names, so that `--help` lists them and a wrong one is answered with the right ones.
fn named<K>(names: impl Iterator<Item = (&'static str, &'static str)>) -> impl TypedValueParser<Value = K>
where
    K: FromStr<Err = LabError> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names.map(|(name, help)| PossibleValue::new(name).help(help)))
        .try_map(|name| name.parse::<K>())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text}: no number of seconds"))?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("between 0.1 and 86400 seconds".into())
    }
}

/// Columns of the terminal that standard output is; nothing where it is none.
fn terminal_width() -> Option<usize> {
    comfy_table::Table::new().width().map(usize::from).filter(|width| *width > 0)
}

/// Measures and writes the result.
pub fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.rate.is_some() && !arguments.mode.is_empty() && !arguments.mode.contains(&Mode::Paced) {
        return Err("--rate is for the mode paced: add it to --mode, or leave --mode out".into());
    }
    clean_up_on_signals()?;
    let options = Options {
        quick: arguments.quick,
        sizes: arguments.sizes,
        transports: arguments.transport,
        codecs: arguments.codec,
        payloads: arguments.payload,
        waits: arguments.wait,
        modes: arguments.mode,
        rate: arguments.rate,
        skip_crashes: arguments.no_crash,
        seconds: arguments.seconds,
        input: arguments.input,
    };
    if let Some(directory) = &arguments.report {
        report::prepare(directory)?;
    }
    let outcome = measure(&options)?;
    let mut out = Vec::new();
    match arguments.format {
        Format::Table => table::write(&outcome, terminal_width(), &mut out)?,
        Format::Json => json::write(&outcome, &mut out)?,
        Format::Csv => {
            csv::write(&outcome, &mut out)?;
            // Rows have no place for it.
            for skipped in &outcome.skipped {
                eprintln!("Left out: {}: {}.", skipped.contender, skipped.reason);
            }
        }
    }
    show::print(&String::from_utf8_lossy(&out))?;
    if let Some(directory) = arguments.report {
        let page = report::write(&outcome, &directory)?;
        eprintln!("The report is {}.", page.display());
    }
    Ok(())
}

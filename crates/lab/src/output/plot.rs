//! Plots as SVG text.
#![forbid(unsafe_code)]

use plotters::prelude::*;

use crate::error::{LabError, Result};
use crate::options::format_size;

/// One line of a plot.
pub(super) struct Line {
    /// Index of its colour, see [`colour`].
    pub(super) index: usize,
    /// Its points.
    pub(super) points: Vec<(f64, f64)>,
}

/// What the axes of a plot say.
pub(super) struct Axes {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    /// How a figure on the y axis is written.
    pub(super) figure: fn(f64) -> String,
    /// Names of the places 1, 2, 3 on the x axis; sizes in bytes if there are none.
    pub(super) places: &'static [&'static str],
}

/// How many colours there are; lines beyond have larger dots, and those beyond these larger ones still.
pub(super) const COLOURS: usize = 12;

/// Colours that differ for the eye as far as so many can.
pub(super) fn colour(index: usize) -> RGBColor {
    const PALETTE: [(u8, u8, u8); COLOURS] = [
        (0, 90, 181),
        (220, 50, 32),
        (0, 140, 80),
        (230, 150, 0),
        (120, 60, 160),
        (0, 160, 190),
        (200, 80, 150),
        (110, 110, 110),
        (140, 90, 40),
        (90, 160, 20),
        (60, 60, 220),
        (20, 20, 20),
    ];
    let (red, green, blue) = PALETTE[index % COLOURS];
    RGBColor(red, green, blue)
}

fn failed(error: impl std::fmt::Display) -> LabError {
    LabError::Output { what: "plot", reason: error.to_string() }
}

/// Least and greatest of some values, with a little room; nothing if there are none.
fn range(values: impl Iterator<Item = f64>, room: f64) -> Option<std::ops::Range<f64>> {
    let (low, high) =
        values.filter(|v| *v > 0.0).fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    (high > 0.0).then(|| low / room..high * room)
}

/// Draws lines with both axes logarithmic, or with named places across.
pub(super) fn draw(axes: &Axes, lines: &[Line]) -> Result<Option<String>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(y) = range(points().map(|point| point.1), 1.5) else { return Ok(None) };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (760, 460)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut builder = ChartBuilder::on(&root);
        builder
            .caption(&axes.title, ("sans-serif", 22))
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(85);
        let y_label = |value: &f64| (axes.figure)(*value);
        macro_rules! finish {
            ($chart:ident, $x_label:expr, $labels:expr) => {
                $chart
                    .configure_mesh()
                    .light_line_style(RGBColor(240, 240, 240))
                    .bold_line_style(RGBColor(215, 215, 215))
                    .label_style(("sans-serif", 16))
                    .axis_desc_style(("sans-serif", 17))
                    .x_desc(axes.x)
                    .y_desc(axes.y)
                    .x_labels($labels)
                    .x_label_formatter(&$x_label)
                    .y_label_formatter(&y_label)
                    .draw()
                    .map_err(failed)?;
                for line in lines {
                    let style = colour(line.index).stroke_width(2);
                    $chart
                        .draw_series(LineSeries::new(line.points.iter().copied(), style))
                        .map_err(failed)?;
                    let dot = [3, 5, 7][(line.index / COLOURS).min(2)];
                    $chart
                        .draw_series(
                            line.points
                                .iter()
                                .map(|point| Circle::new(*point, dot, colour(line.index).filled())),
                        )
                        .map_err(failed)?;
                }
            };
        }
        if axes.places.is_empty() {
            let x = range(points().map(|point| point.0), 1.3).unwrap_or(1.0..2.0);
            let mut chart =
                builder.build_cartesian_2d(x.log_scale().base(4.0), y.log_scale()).map_err(failed)?;
            finish!(chart, |value: &f64| format_size(value.round() as usize), 10);
        } else {
            let last = axes.places.len() as f64;
            let mut chart = builder.build_cartesian_2d(0.7..last + 0.3, y.log_scale()).map_err(failed)?;
            let place = |value: &f64| {
                let near = value.round();
                let exact = (value - near).abs() < 0.01 && near >= 1.0;
                axes.places
                    .get(near as usize - usize::from(near >= 1.0))
                    .filter(|_| exact)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            };
            finish!(chart, place, axes.places.len() + 2);
        }
        root.present().map_err(failed)?;
    }
    Ok(Some(svg))
}

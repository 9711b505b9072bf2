//! A timeline as SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use turnpike_types::Must as _;

use crate::clock::{Micros, millis};
use crate::report::{Timeline, show_ms};
use crate::watch::ObservedOwnership;

use super::html::{IN_MEMORY, escaped};

const LEFT: f64 = 92.0;
const WIDTH: f64 = 1_100.0;
const FAULTS_HEIGHT: f64 = 18.0;
const ANSWERS_HEIGHT: f64 = 90.0;
const WAITS_HEIGHT: f64 = 70.0;
const GAP: f64 = 14.0;
/// The height that the bands of all partitions share; a single band is at most `BAND_MAX` high.
const BANDS_HEIGHT: f64 = 180.0;
const BAND_MAX: f64 = 14.0;
/// The minimum length of a slice of time.
const SLICE_MIN: Micros = 10_000;
const SLICES_MAX: u64 = 1_000;
/// The number of node colours in the style sheet.
const COLOURS: usize = 6;

/// An interval of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from: Micros,
    pub(super) until: Micros,
}

impl Window {
    fn span(self) -> Micros {
        self.until.saturating_sub(self.from).max(SLICE_MIN)
    }

    fn x(self, at: Micros) -> f64 {
        let at = at.clamp(self.from, self.until.max(self.from)) - self.from;
        LEFT + (WIDTH - LEFT) * at as f64 / self.span() as f64
    }

    /// The length of a slice: a multiple of 10 ms that gives at most `SLICES_MAX` slices.
    fn slice(self) -> Micros {
        self.span().div_ceil(SLICES_MAX).div_ceil(SLICE_MIN) * SLICE_MIN
    }
}

/// Draws charts of a timeline, each for an interval of time.
pub(super) struct Chart<'a> {
    timeline: &'a Timeline,
    /// The owners by partition, in order of time.
    ownerships: BTreeMap<u32, Vec<&'a ObservedOwnership>>,
    /// The colour of each node, by name.
    colours: BTreeMap<&'a str, usize>,
}

impl<'a> Chart<'a> {
    pub(super) fn new(timeline: &'a Timeline) -> Self {
        let mut ownerships: BTreeMap<u32, Vec<&ObservedOwnership>> = BTreeMap::new();
        let mut colours = BTreeMap::new();
        for ownership in &timeline.ownerships {
            ownerships.entry(ownership.partition).or_default().push(ownership);
            colours.insert(ownership.owner.as_str(), 0);
        }
        colours.values_mut().enumerate().for_each(|(place, colour)| *colour = place % COLOURS);
        Self { timeline, ownerships, colours }
    }

    /// Draws one interval as an SVG element.
    pub(super) fn draw(&self, window: Window) -> String {
        let band = (BANDS_HEIGHT / self.ownerships.len().max(1) as f64).min(BAND_MAX);
        let answers_top = FAULTS_HEIGHT + GAP;
        let waits_top = answers_top + ANSWERS_HEIGHT + GAP;
        let bands_top = waits_top + WAITS_HEIGHT + GAP;
        let bottom = bands_top + band * self.ownerships.len() as f64;
        let mut out = String::new();
        let height = bottom + 44.0;
        writeln!(
            out,
            "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {height:.1}\" role=\"img\">"
        )
        .must(IN_MEMORY);
        self.bands(&mut out, window, bands_top, band);
        axis(&mut out, window, bottom);
        // The bar of a fault ends above the bands, so that the colours of the bands stay visible.
        // The line of the fault continues through the bands.
        self.faults(&mut out, window, bands_top - GAP / 2.0, bottom);
        self.answers(&mut out, window, answers_top, waits_top);
        self.names(&mut out, bottom + 36.0);
        out + "</svg></div>"
    }

    fn faults(&self, out: &mut String, window: Window, bars_bottom: f64, bottom: f64) {
        let seen = |at: Micros, until: Micros| at <= window.until && until >= window.from;
        let mut free_from = LEFT;
        for fault in self.timeline.faults.iter().filter(|fault| seen(fault.at, fault.until)) {
            let (x, end) = (window.x(fault.at), window.x(fault.until));
            let what = escaped(&fault.what);
            writeln!(
                out,
                "<g class=\"fault\"><rect x=\"{x:.1}\" y=\"{FAULTS_HEIGHT}\" width=\"{:.1}\" \
                 height=\"{:.1}\"/><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{FAULTS_HEIGHT}\" \
                 y2=\"{bottom:.1}\"/>",
                (end - x).max(0.5),
                bars_bottom - FAULTS_HEIGHT
            )
            .must(IN_MEMORY);
            // The approximate width of a character.
            let width = fault.what.chars().count() as f64 * 6.2;
            if x >= free_from && x + width < WIDTH {
                write!(out, "<text x=\"{x:.1}\" y=\"12\">{what}</text>").must(IN_MEMORY);
                free_from = x + width + 8.0;
            }
            let from = millis(fault.at.saturating_sub(self.timeline.from));
            writeln!(out, "<title>{what}, at {}</title></g>", show_ms(from)).must(IN_MEMORY);
        }
    }

    /// Draws the number of answers in each slice of time, and the longest wait among them.
    fn answers(&self, out: &mut String, window: Window, answers_top: f64, waits_top: f64) {
        let slice = window.slice();
        let mut slices: BTreeMap<u64, (u32, Micros)> = BTreeMap::new();
        for answer in &self.timeline.answers {
            if (window.from..=window.until).contains(&answer.at) {
                let seen = slices.entry((answer.at - window.from) / slice).or_default();
                seen.0 += 1;
                seen.1 = seen.1.max(answer.at.saturating_sub(answer.due));
            }
        }
        let most = slices.values().map(|(count, _)| *count).max().unwrap_or(1);
        let longest = slices.values().map(|(_, wait)| *wait).max().unwrap_or(1).max(100_000);
        let (answers_bottom, waits_bottom) =
            (answers_top + ANSWERS_HEIGHT, waits_top + WAITS_HEIGHT);
        let mut bars = String::new();
        let mut waits = String::new();
        for (&place, &(count, wait)) in &slices {
            let x = window.x(window.from + place * slice);
            let width = window.x(window.from + (place + 1) * slice) - x;
            let high = ANSWERS_HEIGHT * f64::from(count) / f64::from(most);
            write!(bars, "M{x:.1} {answers_bottom}v-{high:.1}h{width:.2}v{high:.1}z")
                .must(IN_MEMORY);
            let high = WAITS_HEIGHT * log(wait, longest);
            write!(waits, "M{x:.1} {waits_bottom}v-{high:.1}h{width:.2}v{high:.1}z")
                .must(IN_MEMORY);
        }
        writeln!(out, "<path class=\"answers\" d=\"{bars}\"/>").must(IN_MEMORY);
        writeln!(out, "<path class=\"waits\" d=\"{waits}\"/>").must(IN_MEMORY);
        let per = show_ms(millis(slice));
        label(out, answers_top + 10.0, "answers");
        label(out, answers_top + 24.0, &format!("per {per}"));
        label(out, answers_top + 38.0, &format!("most {most}"));
        label(out, waits_top + 10.0, "longest wait");
        for ms in [1_000_000_u64, 100_000, 10_000, 1_000, 100, 10] {
            if ms * 1_000 <= longest {
                let y = waits_bottom - WAITS_HEIGHT * log(ms * 1_000, longest);
                writeln!(
                    out,
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
                ).must(IN_MEMORY);
                if y > waits_top + 14.0 {
                    label(out, y + 4.0, &show_ms(ms as f64));
                }
            }
        }
    }

    /// Draws the owners of each partition.
    fn bands(&self, out: &mut String, window: Window, top: f64, band: f64) {
        for (row, (partition, ownerships)) in self.ownerships.iter().enumerate() {
            let y = top + band * row as f64;
            if band >= 10.0 {
                label(out, y + band - 3.0, &format!("partition {partition}"));
            }
            for (place, ownership) in ownerships.iter().enumerate() {
                let until = ownerships.get(place + 1).map_or(self.timeline.until, |next| next.from);
                if ownership.from > window.until || until < window.from {
                    continue;
                }
                let (x, end) = (window.x(ownership.from), window.x(until));
                let colour = self.colours.get(ownership.owner.as_str()).copied().unwrap_or(0);
                let high = if band > 3.0 { band - 1.0 } else { band };
                let (owner, epoch) = (escaped(&ownership.owner), ownership.epoch);
                writeln!(
                    out,
                    "<rect class=\"node-{colour}\" x=\"{x:.1}\" y=\"{y:.2}\" width=\"{:.1}\" \
                     height=\"{high:.2}\"><title>partition {partition}: {owner}, epoch {epoch}</title></rect>",
                    (end - x).max(0.3)
                ).must(IN_MEMORY);
                if band >= 10.0 && end - x > 30.0 {
                    let (x, y) = (x + 4.0, y + band - 4.0);
                    writeln!(
                        out,
                        "<text class=\"epoch\" x=\"{x:.1}\" y=\"{y:.1}\">{owner} {epoch}</text>"
                    )
                    .must(IN_MEMORY);
                }
            }
        }
        if band < 10.0 && !self.ownerships.is_empty() {
            label(out, top + 10.0, &format!("{} partitions", self.ownerships.len()));
        }
    }

    /// Draws the legend of node colours.
    fn names(&self, out: &mut String, y: f64) {
        let mut x = LEFT;
        for (name, colour) in &self.colours {
            let (name, top) = (escaped(name), y - 9.0);
            writeln!(
                out,
                "<rect class=\"node-{colour}\" x=\"{x}\" y=\"{top}\" width=\"10\" height=\"10\"/>\
                 <text x=\"{}\" y=\"{y}\">node {name}</text>",
                x + 14.0
            )
            .must(IN_MEMORY);
            x += 40.0 + 7.0 * name.len() as f64 + 30.0;
        }
    }
}

/// The logarithmic scale of waits: 0 for a millisecond or less, 1 for the longest.
fn log(wait: Micros, longest: Micros) -> f64 {
    let decades = |micros: Micros| (millis(micros).max(1.0)).log10();
    (decades(wait) / decades(longest).max(0.1)).clamp(0.02, 1.0)
}

fn label(out: &mut String, y: f64, text: &str) {
    let x = LEFT - 8.0;
    let text = escaped(text);
    writeln!(out, "<text class=\"label\" x=\"{x}\" y=\"{y:.1}\">{text}</text>").must(IN_MEMORY);
}

/// Draws ticks at round numbers of seconds.
fn axis(out: &mut String, window: Window, bottom: f64) {
    let steps =
        [100_000, 250_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000];
    let step = steps.into_iter().find(|step| window.span() / step <= 14).unwrap_or(60_000_000);
    let mut at = window.from.div_ceil(step) * step;
    // A label at the right edge would be cut off.
    while at <= window.until && window.x(at) < WIDTH - 12.0 {
        let (x, y) = (window.x(at), bottom + 14.0);
        let seconds = at as f64 / 1e6;
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{FAULTS_HEIGHT}\" y2=\"{bottom:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\">{seconds} s</text>"
        ).must(IN_MEMORY);
        at += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observations::BatchAnswer;
    use crate::pause::{InjectedFault, PauseMeasure};

    fn timeline() -> Timeline {
        let answer = |at| BatchAnswer { partition: 1, due: at - 5_000, sent: at - 5_000, at };
        let ownership = |epoch, owner: &str, from| ObservedOwnership {
            partition: 1,
            epoch,
            owner: owner.to_owned(),
            from,
        };
        Timeline {
            from: 0,
            until: 2_000_000,
            answers: (1..=20).map(|n| answer(n * 100_000)).collect(),
            faults: vec![InjectedFault {
                what: "kill -9 <a>".to_owned(),
                at: 1_000_000,
                until: 1_500_000,
                partitions: vec![1],
                measure: PauseMeasure::FromFault,
            }],
            pauses: Vec::new(),
            ownerships: vec![ownership(1, "a", 0), ownership(2, "b", 1_100_000)],
        }
    }

    #[test]
    fn a_window_shows_the_faults_and_owners_that_fall_into_it_and_no_others() {
        let timeline = timeline();
        let chart = Chart::new(&timeline);
        let all = chart.draw(Window { from: 0, until: 2_000_000 });
        assert!(all.contains("kill -9 &lt;a&gt;") && all.contains("b, epoch 2"));
        let before = chart.draw(Window { from: 0, until: 900_000 });
        assert!(
            !before.contains("kill") && !before.contains("epoch 2") && before.contains("epoch 1")
        );
    }

    #[test]
    fn slices_are_10_ms_where_they_find_room() {
        assert_eq!(Window { from: 0, until: 2_000_000 }.slice(), 10_000);
        assert_eq!(Window { from: 5, until: 60_000_005 }.slice(), 60_000);
    }
}

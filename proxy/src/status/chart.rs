//! Small charts as inline SVG: areas on top of each other over time. Numbers only, so that nothing in them needs escaping; no
//! scripts, no styles but classes. Pure.

use std::fmt::Write as _;

/// The drawing's own units; the page stretches it.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// One area, with the class that colours it.
pub(super) struct Area<'a> {
    pub class: &'static str,
    pub values: &'a [f64],
}

/// A number that is a little above `most`, round for people: 1, 2 or 5 times a power of ten.
pub(super) fn ceiling(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= most).unwrap_or(most)
}

/// The largest sum of values that stand at one time.
pub(super) fn most(areas: &[Area<'_>]) -> f64 {
    stacked(areas).last().map_or(0.0, |top| top.iter().copied().fold(0.0, f64::max))
}

/// Steps, because a value is of the time since the one before. `ages` is how long ago each value's time ended, in seconds, the
/// oldest first; `seconds` is what the whole width stands for and when the first began, `top` the height.
pub(super) fn svg(areas: &[Area<'_>], ages: &[f64], seconds: f64, top: f64) -> String {
    let mut drawn = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">"#);
    for quarter in 1..4 {
        let y = HEIGHT * f64::from(quarter) / 4.0;
        append(&mut drawn, format_args!(r#"<line class="grid" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>"#));
    }
    let x = |age: f64| WIDTH * (1.0 - (age / seconds.max(1.0)).clamp(0.0, 1.0));
    let y = |value: f64| HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0));
    let begins = std::iter::once(seconds).chain(ages.iter().copied());
    let spans: Vec<_> = begins.zip(ages).map(|(from, to)| (x(from), x(*to))).collect();
    let tops = stacked(areas);
    let mut floor = vec![0.0; ages.len()];
    for (area, ceiling) in areas.iter().zip(&tops) {
        let mut points = String::new();
        for ((from, to), value) in spans.iter().zip(ceiling) {
            append(&mut points, format_args!("{from:.1},{0:.1} {to:.1},{0:.1} ", y(*value)));
        }
        for ((from, to), value) in spans.iter().zip(&floor).rev() {
            append(&mut points, format_args!("{to:.1},{0:.1} {from:.1},{0:.1} ", y(*value)));
        }
        append(&mut drawn, format_args!(r#"<polygon class="{}" points="{}"/>"#, area.class, points.trim_end()));
        floor.clone_from(ceiling);
    }
    drawn + "</svg>"
}

/// The upper edge of each area, each on top of those before.
fn stacked(areas: &[Area<'_>]) -> Vec<Vec<f64>> {
    let mut tops: Vec<Vec<f64>> = Vec::new();
    for area in areas {
        let below = tops.last().cloned().unwrap_or_else(|| vec![0.0; area.values.len()]);
        tops.push(area.values.iter().zip(below).map(|(value, below)| value.max(0.0) + below).collect());
    }
    tops
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    text.write_fmt(more).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_round_and_above() {
        for (most, shown) in [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.01, 2.0), (4.2, 5.0), (777.0, 1000.0)] {
            assert!((ceiling(most) - shown).abs() < 1e-9, "{most}: {}", ceiling(most));
        }
        assert_eq!((ceiling(f64::NAN), ceiling(f64::INFINITY)), (1.0, 1.0));
    }

    #[test]
    fn areas_stand_on_each_other() {
        let areas = [Area { class: "a", values: &[1.0, 2.0] }, Area { class: "b", values: &[1.0, 0.0] }];
        assert_eq!(most(&areas), 2.0);
        let drawn = svg(&areas, &[5.0, 0.0], 10.0, 4.0);
        let [lower, upper] = [
            "0.0,90.0 300.0,90.0 300.0,60.0 600.0,60.0 600.0,120.0 300.0,120.0 300.0,120.0 0.0,120.0",
            "0.0,60.0 300.0,60.0 300.0,60.0 600.0,60.0 600.0,60.0 300.0,60.0 300.0,90.0 0.0,90.0",
        ];
        assert!(drawn.contains(&format!(r#"<polygon class="a" points="{lower}"/>"#)), "{drawn}");
        assert!(drawn.contains(&format!(r#"<polygon class="b" points="{upper}"/>"#)), "{drawn}");
    }

    #[test]
    fn what_is_no_number_is_not_drawn_as_one() {
        let drawn = svg(&[Area { class: "a", values: &[f64::NAN, -1.0] }], &[5.0, 0.0], 0.0, 1.0);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        assert_eq!(most(&[]), 0.0);
    }
}

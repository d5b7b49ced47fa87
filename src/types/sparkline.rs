//! A vector as a line of bars.

/// Bars in a sparkline: enough to tell two vectors apart, few enough to leave room for the other columns.
const SPARKLINE_BARS: usize = 24;

/// Draws `values` as bars: the mean of each of at most 24 equal parts, scaled between the lowest
/// and the highest mean. Values that are not finite do not count; a part without any is a dot.
#[must_use]
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let means = means(values, SPARKLINE_BARS);
    let lowest = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let highest = means.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    // halves, because the difference of two large floats may overflow
    let range = highest / 2.0 - lowest / 2.0;
    means
        .into_iter()
        .map(|mean| match mean {
            None => '·',
            Some(_) if range <= 0.0 => BARS[3],
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
            Some(mean) => BARS[((mean / 2.0 - lowest / 2.0) / range * 7.0).round() as usize],
        })
        .collect()
}

/// The mean of each of at most `parts` equal parts of a vector; `None` of a part in which no value is finite.
#[must_use]
pub fn means(values: &[f64], parts: usize) -> Vec<Option<f64>> {
    let parts = values.len().min(parts);
    let part = |part| &values[part * values.len() / parts..(part + 1) * values.len() / parts];
    (0..parts).map(|number| mean(part(number))).collect()
}

/// The mean of the finite values.
fn mean(values: &[f64]) -> Option<f64> {
    let (mut mean, mut count) = (0.0, 0.0);
    for value in values.iter().filter(|value| value.is_finite()) {
        count += 1.0;
        // a running mean: a plain sum of large values would overflow
        mean += value / count - mean / count;
    }
    (count > 0.0).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_vector_is_drawn_by_the_means_of_its_parts() {
        let zigzag: Vec<f64> = (0..48).map(|i| f64::from(i / 2 * 10 + i % 2)).collect();
        assert_eq!(sparkline(&zigzag), "▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇██");
    }

    #[test]
    fn a_sparkline_survives_every_float() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[f64::NAN, 1.0, f64::INFINITY, 2.0]), "·▁·█");
        assert_eq!(sparkline(&[0.0; 30]), "▄".repeat(24));
        assert_eq!(sparkline(&[f64::MIN, 0.0, f64::MAX]), "▁▅█");
        assert_eq!(sparkline(&[f64::MAX; 48]), "▄".repeat(24));
    }
}

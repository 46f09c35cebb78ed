//! The chi-square test: how likely it is that what was counted came about by equal chances.

/// How likely a fair draw is taken for an unfair one, on either side.
pub(crate) const ALPHA: f64 = 1e-6;

/// Least counts of which it can be told that they are too even: the fewer there are, the likelier it is
/// that they are all equal by chance, which a distribution without steps knows nothing of. Of 2 counts of
/// 200 on average that is 1 in 25, of 10 less than 1 in 10^13.
const EVEN_MIN: usize = 10;

/// The sum of squared deviations from an equal share, each in terms of that share.
pub(crate) fn chi_square(counts: &[u64]) -> f64 {
    let share = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let deviation = |count: &u64| (*count as f64 - share).powi(2) / share;
    counts.iter().map(deviation).sum()
}

/// Why equal chances are ruled out: the counts differ too much, or are too even to be drawn.
pub(crate) fn unfair(counts: &[u64]) -> Option<String> {
    let squares = chi_square(counts);
    let below = below(squares, counts.len() as f64 - 1.0);
    let told = format!("chi-square {squares:.1} of {} counts", counts.len());
    if below > 1.0 - ALPHA {
        Some(format!("{told}: they differ too much"))
    } else if below < ALPHA && counts.len() >= EVEN_MIN {
        Some(format!("{told}: they are too even"))
    } else {
        None
    }
}

/// How likely a chi-square of so many degrees of freedom is below `squares`.
fn below(squares: f64, freedom: f64) -> f64 {
    let (a, x) = (freedom / 2.0, squares / 2.0);
    if x <= 0.0 {
        return 0.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-15 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return sum * scale;
    }
    // Lentz's continued fraction of the upper part.
    let (mut b, mut c) = (x + 1.0 - a, 1e300);
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..100_000 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    1.0 - scale * h
}

/// The logarithm of the gamma function of a positive number, by Stirling's series.
fn ln_gamma(number: f64) -> f64 {
    let (mut x, mut lower) = (number, 0.0);
    while x < 10.0 {
        lower += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw;

    #[test]
    fn it_agrees_with_the_tables() {
        for (freedom, squares, expected) in [
            (1.0, 3.841_458_8, 0.95),
            (1.0, 0.003_932_1, 0.05),
            (9.0, 21.665_994, 0.99),
            (9.0, 2.087_901, 0.01),
            (99.0, 123.225_22, 0.95),
            (999.0, 1142.86, 0.999),
            (999.0, 866.53, 0.001),
        ] {
            let told = below(squares, freedom);
            assert!(
                (told - expected).abs() < 2e-5,
                "{freedom}, {squares}: {told}"
            );
        }
        assert!((1.0 - below(1230.0, 999.0)) < 1e-5);
    }

    #[test]
    fn equal_chances_pass_and_loaded_ones_do_not() {
        let mut counts = vec![0; 100];
        (0..20_000).for_each(|_| counts[draw(100)] += 1);
        assert_eq!(unfair(&counts), None);
        assert!(unfair(&[200; 100]).unwrap().ends_with("too even"));
        assert_eq!(unfair(&[200; 2]), None);
        // One that is drawn twice as often as the others.
        (0..200).for_each(|_| counts[0] += 1);
        assert!(unfair(&counts).unwrap().ends_with("too much"));
    }
}

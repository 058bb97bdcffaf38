//! "Did you mean …?" for misspelt names.

/// As many changes of a character at most; of a short name that is not the beginning of
/// another, one for every three characters.
const DISTANCE_MAX: usize = 2;
/// Longer names are not compared.
const LENGTH_MAX: usize = 40;

/// `" (did you mean X?)"`, or nothing if no option is near. In the case of the name, if case does not matter.
pub(super) fn did_you_mean<'o>(name: &str, options: impl IntoIterator<Item = &'o str>, ignore_case: bool) -> String {
    let folded = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let wanted = folded(name);
    let length = wanted.chars().count();
    let near = |distance: usize, option: &str| {
        let begins = length > 2 && option.starts_with(&wanted);
        let max = if begins { DISTANCE_MAX } else { DISTANCE_MAX.min(length.div_ceil(3)) };
        (1..=max).contains(&distance)
    };
    let candidates = options.into_iter().map(|option| (distance(&wanted, &folded(option)), option));
    match candidates.filter(|(distance, option)| near(*distance, &folded(option))).min() {
        Some((_, option)) if ignore_case && name == wanted => format!(" (did you mean {}?)", folded(option)),
        Some((_, option)) => format!(" (did you mean {option}?)"),
        None => String::new(),
    }
}

/// The option that is nearest to a name that is none of them, as docker's checks look for it: at most two changes.
pub(in crate::build) fn nearest<'o>(name: &str, options: impl IntoIterator<Item = &'o str>) -> Option<&'o str> {
    let near = options.into_iter().map(|option| (distance(name, option), option));
    near.min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .map(|(_, option)| option)
}

/// How many characters to insert, remove, change, or swap with the next (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(LENGTH_MAX + 1).collect(), b.chars().collect());
    if a.len() > LENGTH_MAX {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

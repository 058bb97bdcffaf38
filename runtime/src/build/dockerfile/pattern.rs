//! Patterns of `${name#pattern}`, `%` and `/`: `*` is any text, `?` any character, `\` takes the meaning from both.
//! As in docker, neither matches the end of a line.

/// The most comparisons of characters that one pattern may need: what it has of them times what the value has.
const COST_MAX: usize = 1 << 22;

/// The longest result of a replacement, in bytes.
const RESULT_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Any,
    Is(char),
}

impl Item {
    fn matches(self, c: char) -> bool {
        match self {
            Self::Any => c != '\n',
            Self::Is(expected) => c == expected,
        }
    }
}

/// Which of the possible matches is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Shortest,
    Longest,
}

/// A parsed pattern: what stands between the stars.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// One more than there are stars; empty ones where stars are side by side or at an end.
    segments: Vec<Vec<Item>>,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = |what: &str| format!("invalid pattern ({text}) in substitution: {what}");
        let mut segments = vec![Vec::new()];
        let mut segment = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let item = match c {
                '*' => {
                    segments.insert(segments.len() - 1, std::mem::take(&mut segment));
                    continue;
                }
                '?' => Item::Any,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Item::Is(c),
                    Some(c) => return Err(invalid(&format!("invalid escape '\\{c}'"))),
                    None => return Err(invalid("an escape at the end")),
                },
                c => Item::Is(c),
            };
            segment.push(item);
        }
        segments.pop();
        segments.push(segment);
        Ok(Self { segments })
    }

    /// The value without what the pattern matches at its start.
    pub fn trim_start(&self, value: &str, length: Length) -> Result<String, String> {
        let value = self.affordable(value)?;
        let end = self.prefix(&value, length).unwrap_or(0);
        Ok(value[end..].iter().collect())
    }

    /// The value without what the pattern matches at its end.
    pub fn trim_end(&self, value: &str, length: Length) -> Result<String, String> {
        let mut value = self.affordable(value)?;
        value.reverse();
        let reversed = |segment: &Vec<Item>| segment.iter().rev().copied().collect();
        let mirrored = Self { segments: self.segments.iter().rev().map(reversed).collect() };
        let end = mirrored.prefix(&value, length).unwrap_or(0);
        Ok(value[end..].iter().rev().collect())
    }

    /// The value with the longest match nearest to its start replaced, or all of them.
    pub fn replace(&self, value: &str, replacement: &str, all: bool) -> Result<String, String> {
        let value = self.affordable(value)?;
        let mut out = String::new();
        let mut at = 0;
        let mut last_end = None;
        while let Some((start, end)) = self.find(&value, at) {
            out.extend(&value[at..start]);
            // An empty match right after another is none.
            if start < end || last_end != Some(end) {
                out.push_str(replacement);
            }
            at = end;
            last_end = Some(end);
            if start == end {
                out.extend(value.get(at));
                at += 1;
            }
            if !all || at > value.len() {
                break;
            }
            if out.len() > RESULT_MAX {
                return Err(format!("the result of a substitution is longer than {RESULT_MAX} bytes"));
            }
        }
        out.extend(value.get(at..).unwrap_or_default());
        Ok(out)
    }

    fn affordable(&self, value: &str) -> Result<Vec<char>, String> {
        let value: Vec<char> = value.chars().collect();
        let items: usize = self.segments.iter().map(|segment| segment.len() + 1).sum();
        match items.saturating_mul(value.len()) > COST_MAX {
            true => Err("the pattern and the value of a substitution are too long".to_owned()),
            false => Ok(value),
        }
    }

    /// Where a match that begins at the start of `value` ends.
    fn prefix(&self, value: &[char], length: Length) -> Option<usize> {
        let first = &self.segments[0];
        begins(value, first).then_some(())?;
        self.rest(value, first.len(), length)
    }

    /// The match nearest to the start, at `from` or later, and of those the longest.
    fn find(&self, value: &[char], from: usize) -> Option<(usize, usize)> {
        let first = &self.segments[0];
        let mut from = from;
        loop {
            let start = search(value, from, value.len(), first)?;
            if let Some(end) = self.rest(value, start + first.len(), Length::Longest) {
                return Some((start, end));
            }
            // What does not match from here matches from nowhere in this line.
            from = line_end(value, start) + 1;
        }
    }

    /// Where a match ends whose first segment ends at `from`. Every segment is put as far to the front as it can be,
    /// the last one for the longest match as far to the back: that finds a match if there is one.
    fn rest(&self, value: &[char], from: usize, length: Length) -> Option<usize> {
        let Some((last, between)) = self.segments[1..].split_last() else { return Some(from) };
        let end = line_end(value, from);
        let mut at = from;
        for segment in between {
            at = search(value, at, end, segment)? + segment.len();
        }
        let start = match length {
            Length::Shortest => search(value, at, end, last)?,
            Length::Longest => {
                let latest = end.checked_sub(last.len())?;
                (at..=latest).rev().find(|start| begins(&value[*start..], last))?
            }
        };
        Some(start + last.len())
    }
}

fn begins(value: &[char], segment: &[Item]) -> bool {
    value.len() >= segment.len() && segment.iter().zip(value).all(|(item, c)| item.matches(*c))
}

/// The first place from `from` on where the segment stands and ends by `end`.
fn search(value: &[char], from: usize, end: usize, segment: &[Item]) -> Option<usize> {
    let latest = end.checked_sub(segment.len())?;
    (from..=latest).find(|start| begins(&value[*start..], segment))
}

fn line_end(value: &[char], from: usize) -> usize {
    value[from..].iter().position(|c| *c == '\n').map_or(value.len(), |n| from + n)
}

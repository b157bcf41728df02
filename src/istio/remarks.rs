//! Problems to be read by people: repeated ones are shown three times and then counted.
//!
//! Pure. `main` prints the result; as JSON every problem is a line of its own, and none are gathered.

use std::borrow::Cow;
use std::collections::HashMap;

use super::problem::{Problem, Severity};
use crate::base::count::grouped;

/// So many equal remarks are written out.
const WRITTEN_OUT: usize = 3;

/// The severities that may be gathered, and the text for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Only notes; the place of each is named. For `check`.
    Notes,
    /// Notes and warnings, which are counted. For `run` and `explain`.
    Warnings,
}

/// These problems in their order: of equal ones three, and one for the rest of them behind all others. Problems are equal if their texts
/// differ only in names and numbers. Errors are never gathered.
#[must_use]
pub fn lines<'a>(problems: impl IntoIterator<Item = &'a Problem>, gather: Gather) -> Vec<Cow<'a, Problem>> {
    let mut alike: HashMap<(Severity, String), usize> = HashMap::new();
    let mut groups: Vec<Vec<&Problem>> = Vec::new();
    let mut lines = Vec::new();
    for problem in problems {
        let gathered = match problem.severity {
            Severity::Error | Severity::Broken => false,
            Severity::Warning => gather == Gather::Warnings,
            Severity::Note => true,
        };
        if !gathered {
            lines.push(Cow::Borrowed(problem));
            continue;
        }
        let group = *alike.entry((problem.severity, without_names(problem))).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(group) else { continue };
        group.push(problem);
        if group.len() <= WRITTEN_OUT {
            lines.push(Cow::Borrowed(problem));
        }
    }
    lines.extend(groups.iter().filter_map(|group| rest(group, gather)));
    lines
}

/// Its text without names: without quoted text, and without words that have a dot, a slash or a digit.
fn without_names(problem: &Problem) -> String {
    let is_name = |word: &str| {
        let word = word.trim_end_matches(['.', ',', ':', ';', ')']);
        word.contains(|c: char| c == '.' || c == '/' || c.is_ascii_digit())
    };
    let says = |text: &str| {
        let outside = text.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
        outside.split(' ').map(|word| if is_name(word) { "" } else { word }).collect::<Vec<_>>().join(" ")
    };
    format!("{} ({})", says(&problem.what), says(&problem.instead))
}

/// The line for the problems of a group that are not written out; if there is only one, that problem itself.
fn rest<'a>(group: &[&'a Problem], gather: Gather) -> Option<Cow<'a, Problem>> {
    let more = group.get(WRITTEN_OUT..).filter(|more| !more.is_empty())?;
    let first = more.first()?;
    if let [only] = more {
        return Some(Cow::Borrowed(*only));
    }
    let what = format!("{} more of: {}", grouped(more.len()), first.what);
    let what = match gather {
        Gather::Warnings => what,
        Gather::Notes => format!("{what}: {}", places(more)),
    };
    Some(Cow::Owned(about_many(first.severity, what, String::new())))
}

fn about_many(severity: Severity, what: String, instead: String) -> Problem {
    Problem { severity, file: "".into(), line: 0, resource: "".into(), path: String::new(), what, instead }
}

/// `a.yaml:1, a.yaml:7, b.yaml:2`.
fn places(problems: &[&Problem]) -> String {
    let place = |problem: &&Problem| match problem.line {
        0 => problem.file.to_string(),
        line => format!("{}:{line}", problem.file),
    };
    problems.iter().map(place).collect::<Vec<_>>().join(", ")
}

/// A line that counts problems which do not concern the question, and names the command that shows them; `None` if there are none. Broken
/// references count as warnings here.
#[must_use]
pub fn elsewhere(problems: &[&Problem]) -> Option<Problem> {
    let count =
        |severities: &[Severity]| problems.iter().filter(|problem| severities.contains(&problem.severity)).count();
    let kinds = [
        (count(&[Severity::Error]), "error"),
        (count(&[Severity::Broken, Severity::Warning]), "warning"),
        (count(&[Severity::Note]), "note"),
    ];
    let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
    let kinds: Vec<String> =
        kinds.map(|(count, kind)| format!("{} {kind}{}", grouped(count), if count == 1 { "" } else { "s" })).collect();
    let what = format!("{} more: ringway check", grouped(problems.len()));
    (!problems.is_empty()).then(|| about_many(Severity::Note, what, kinds.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(severity: Severity, line: u32, what: &str) -> Problem {
        Problem {
            severity,
            file: "a.yaml".into(),
            line,
            resource: "Kind/default/x".into(),
            path: "spec.f".to_owned(),
            what: what.to_owned(),
            instead: String::new(),
        }
    }

    fn many(severity: Severity, count: u32) -> Vec<Problem> {
        (1..=count).map(|line| problem(severity, line, &format!("\"svc-{line}\" surprises"))).collect()
    }

    #[test]
    fn three_equal_notes_are_written_out() {
        let said = |count, gather| {
            let problems = many(Severity::Note, count);
            lines(&problems, gather).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(said(3, Gather::Notes).len(), 3);
        assert_eq!(said(4, Gather::Notes)[3], "a.yaml:4: Kind/default/x: spec.f: note: \"svc-4\" surprises");
        let five = said(5, Gather::Notes);
        assert_eq!(five.len(), 4);
        assert_eq!(five[3], "note: 2 more of: \"svc-4\" surprises: a.yaml:4, a.yaml:5");
        assert_eq!(said(1_503, Gather::Warnings)[3], "note: 1,500 more of: \"svc-4\" surprises");
    }

    #[test]
    fn siblings_differ_by_names_and_numbers_alone() {
        let said = |texts: &[&str]| {
            let problems: Vec<_> = texts.iter().map(|text| problem(Severity::Warning, 1, text)).collect();
            lines(&problems, Gather::Warnings).len()
        };
        let subset = |number: u32| {
            format!(
                "no DestinationRule gives svc-{number}.default.svc.cluster.local a subset \"v{number}\": 503 UH [IST0101]"
            )
        };
        let subsets: Vec<_> = (0..300).map(subset).collect();
        assert_eq!(said(&subsets.iter().map(String::as_str).collect::<Vec<_>>()), 4);
        assert_eq!(said(&["spec.http[1] takes everything", "spec.http[2].match[0] takes everything"].repeat(3)), 4);
        assert_eq!(
            said(&["is not shorter than 1s", "is not shorter than 20ms", "is a name", "is a number", "is a word"]),
            5
        );
        assert_eq!(said(&["gets 503 UH", "gets 503 UF", "gets 503 NC", "gets 503 UC", "gets 503 UO"]), 5);
    }

    #[test]
    fn errors_are_never_gathered_and_warnings_not_by_check() {
        for (severity, gather, expected) in [
            (Severity::Error, Gather::Notes, 50),
            (Severity::Error, Gather::Warnings, 50),
            (Severity::Broken, Gather::Notes, 50),
            (Severity::Broken, Gather::Warnings, 50),
            (Severity::Warning, Gather::Notes, 50),
            (Severity::Warning, Gather::Warnings, 4),
            (Severity::Note, Gather::Notes, 4),
            (Severity::Note, Gather::Warnings, 4),
        ] {
            assert_eq!(lines(&many(severity, 50), gather).len(), expected, "{severity:?} {gather:?}");
        }
    }

    #[test]
    fn others_stay_where_they_are() {
        let mut problems = many(Severity::Note, 5);
        problems.insert(4, problem(Severity::Error, 9, "wrong"));
        problems.insert(1, problem(Severity::Note, 8, "2 of 3"));
        problems.push(problem(Severity::Note, 10, "2 of 4"));
        let said: Vec<String> = lines(&problems, Gather::Warnings).iter().map(ToString::to_string).collect();
        let shown: Vec<&str> = said.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(shown, ["a.yaml:1:", "a.yaml:8:", "a.yaml:2:", "a.yaml:3:", "a.yaml:9:", "a.yaml:10:", "note:"]);
    }

    #[test]
    fn those_about_something_else_are_grouped() {
        let mut problems = many(Severity::Note, 1_496);
        problems.extend(many(Severity::Warning, 2));
        problems.extend(many(Severity::Broken, 1));
        let told = elsewhere(&problems.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(told.to_string(), "note: 1,499 more: ringway check (3 warnings, 1,496 notes)");
        assert_eq!(elsewhere(&[]), None);
    }
}

use super::super::load::Documents;
use super::*;

/// A dozen resources, and what `more` says.
fn documents(more: &[(usize, &str)]) -> Vec<Document> {
    let mut texts: Vec<String> = (0..12)
        .map(|number| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{ports: [{{port: {number}}}]}}\n"
            )
        })
        .collect();
    for (at, text) in more {
        texts.insert(*at, (*text).to_owned());
    }
    let mut read = Documents::default();
    read.add("<stdin>", texts.join("---\n").as_bytes());
    read.documents
}

#[test]
fn many_threads_find_what_one_finds() {
    let proxy = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {}\n";
    let other = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: q}\nspec: {}\n";
    let twin = "apiVersion: v1\nkind: Service\nmetadata: {name: s9}\nspec: {ports: [{port: bad}]}\n";
    for (more, expected) in [
        (&[][..], "must be between 1 and 65535, not 0"),
        (&[(9, proxy)], ""),
        (&[(1, proxy), (12, other)], "a second Proxy: the first is at <stdin>:6"),
        (&[(1, proxy), (12, proxy)], "a second Proxy of this name: the first is at <stdin>:6"),
        (&[(2, twin)], "a second Service of this name: the first is at <stdin>:11"),
    ] {
        let documents = documents(more);
        let (model, problems) = read_on(1, &documents, false);
        assert!(problems.iter().any(|problem| problem.what.contains(expected)), "{expected}: {problems:?}");
        for threads in [2, 3, 5, 100] {
            let (other, same) = read_on(threads, &documents, false);
            assert_eq!(same, problems, "{threads} threads");
            assert_eq!(format!("{other:?}"), format!("{model:?}"), "{threads} threads");
        }
    }
}

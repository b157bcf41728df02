//! What was tried on Envoy 1.40 (patterns and values) and on Go's `regexp` (patterns), row by row, and that nothing
//! panics. tests/differential has the same kinds in front of a running Envoy.

use proptest::prelude::*;

use super::*;

fn compiled(re2: &str) -> Regex {
    full_match(re2).unwrap_or_else(|bad| panic!("`{re2}` {bad}"))
}

fn check(rows: &[(&str, &str, bool)]) {
    for (re2, value, expected) in rows {
        assert_eq!(compiled(re2).is_match(value.as_bytes()), *expected, "`{re2}` on {value:?}");
    }
}

#[test]
fn whole_values() {
    check(&[
        ("/rx/[a-z]+", "/rx/abc", true),
        ("/rx/[a-z]+", "/rx/abc1", false),
        ("/rx/[a-z]+", "x/rx/abc", false),
        // An alternative must not escape the anchors.
        ("a|bc", "a", true),
        ("a|bc", "ac", false),
        ("a|bc", "xbc", false),
        // `$` is the end of the value, not of a line.
        ("a", "a\n", false),
        ("a$", "a\n", false),
        (".*", "a\nb", false),
        ("(?s).*", "a\nb", true),
        ("(?s:.)(?-s:.)", "\n\n", false),
        ("(?i)abc", "ABC", true),
        ("", "", true),
        ("^/a$", "/a", true),
        (r"\A/a\z", "/a", true),
        ("(?m)a$\n^b", "a\nb", true),
        ("a$\n^b", "a\nb", false),
    ]);
}

#[test]
fn bytes_and_not_characters() {
    check(&[
        (r"\d+", "42", true),
        (r"\d+", "\u{663}", false),
        (r"\w+", "é", false),
        (r"\s", "\u{a0}", false),
        (r"\s", "\x0B", false),
        ("[[:space:]]", "\x0B", true),
        ("(?i)k", "\u{212a}", false),
        ("(?i)s", "ſ", false),
        ("(?i)é", "É", false),
        ("a.b", "aéb", false),
        ("a..b", "aéb", true),
        ("[^a]", "é", false),
        ("[é]", "é", false),
        ("[é][é]", "é", true),
        ("é+", "éé", false), // the second byte alone is repeated
        ("/é.*", "/éx", true),
        (r"\x{e9}", "é", false),
        (r"\xC3\xA9", "é", true),
        (r"\bé", "é", false),
        (r"\pL", "é", false),
        (r"\pL.", "é", true),     // Ã is C3
        ("[а-я]{2}", "а", true),  // D0, B0 to D1, 8F
        ("[а-я]{2}", "р", false), // D1, 80
    ]);
    for (re2, value, expected) in [
        (".", b"\xFF", true),
        ("[^a]", b"\xFF", true),
        (r"\W", b"\xFF", true),
        (r"[^\D]", b"\xFF", false),
        (r"\x{e9}", b"\xE9", true),
        (r"\377", b"\xFF", true),
        (r"(?i)\xe9", b"\xC9", false),
        (r"(?i)[\xe0-\xef]", b"\xC9", false),
        (r"\pL", b"\xE9", true),
        (r"(?i)\p{Lu}", b"\xE9", false),
        (r"(?i)\p{Lu}", b"\xC9", true),
        (r"(?i)\p{Greek}", b"\xB5", false),
        (r"\P{Greek}", b"\xB5", true),
    ] {
        assert_eq!(compiled(re2).is_match(value), expected, "`{re2}` on {value:?}");
    }
}

#[test]
fn classes() {
    check(&[
        ("[a&&b]", "&", true),
        ("[a&&b]", "a", true),
        ("[a~~b]", "~", true),
        ("[[a]", "[", true),
        ("[a[b]]", "[]", true),
        ("[a[b]]", "a]", true),
        ("[a[b]]", "a", false),
        ("[]a]", "]", true),
        ("[^]a]", "b", true),
        ("[^]a]", "]", false),
        ("[]-a]", "^", true),
        ("[--/]", ".", true),
        ("[+--]", ",", true),
        ("[a-]", "-", true),
        ("[-a]", "-", true),
        ("[a-c-e]", "-", true),
        ("[a-c-e]", "d", false),
        (r"[\]a]", "]", true),
        (r"[\d&&]", "&", true),
        ("^/files/[\\w-.]+$", "/files/a-b.c", true),
        (r"[\w-.]", "-", true),
        (r"[\w-.]", "/", false),
        (r"[\d-z]", "5", true),
        (r"[\d-z]", "y", false),
        (r"[\w-]+", "a-b", true),
        (r"[^\w-]", "-", false),
        (r"[^\D]", "5", true),
        (r"[^\d\D]|x", "5", false),
        (r"[\pL-.]", "-", true),
        ("[[:alpha:]-]+", "a-b", true),
        ("[[:alpha:]]", ":", false),
        ("[[:word:]]", "_", true),
        ("[[:^alpha:]]", "1", true),
        ("[^[:^alpha:]]", "1", false),
        ("[a[:b]", ":", true),
        ("[a[:b]", "[", true),
        ("[[:b]", "b", true),
        ("[:alpha:]", "p", true),
        ("[:alpha:]", "z", false),
        ("(?i)[^a]", "A", false),
        ("(?i)[a-c]", "B", true),
        (r"(?i)\P{Lu}", "a", false),
        ("(?i)[[:^lower:]]", "A", false),
        (r"[\101]", "A", true),
        (r"[\x41-\x{43}]", "B", true),
        (r"[\-\.]", "-", true),
        (r"\pN", "5", true),
        (r"\p{^N}", "5", false),
        (r"\P{^N}", "5", true),
        (r"\p{Latin}", "a", true),
        (r"\p{Common}", "a", false),
        (r"[^\p{Lu}]", "a", true),
        (r"\p{Any}", "a", true),
        // By bytes: 61 to C3, A9 to C3, BC.
        ("[a-é-ü]{2}", "é", true),
    ]);
}

#[test]
fn escapes_and_quotation() {
    check(&[
        (r"\Qa.b\E.", "a.bc", true),
        (r"\Qa.b\E.", "axbc", false),
        (r"\Qa.b", "a.b", true),
        (r"\Q]\E[a]", "]a", true),
        (r"\Qab\E*", "abb", true),
        (r"a\Q\E*", "aa", true),
        (r"\Qa\\E", r"a\", true),
        (r"(?i)\Qk\E", "K", true),
        (r"\_\-\/\%\<\>\}", "_-/%<>}", true),
        (r"\a", "x", false),
        (r"\a\f\n\r\t\v", "\x07\x0C\n\r\t\x0B", true),
        (r"\012", "\n", true),
        (r"\0", "\0", true),
        (r"\08", "\08", true),
        (r"\101", "A", true),
        (r"\1012", "A2", true),
        (r"\60", "0", true),
        (r"\x{0000041}", "A", true),
        (r"\bx\b", "x", true),
        (r"\B", "", true),
        ("<>", "<>", true),
    ]);
}

#[test]
fn repetition_and_groups() {
    check(&[
        ("x{0,3}y", "xxxy", true),
        ("x{2}", "xx", true),
        ("x{2,}?", "xxx", true),
        ("x{0}y", "y", true),
        ("x{0}y", "xy", false),
        ("(?:ab){1,2}", "abab", true),
        ("a{,2}", "a{,2}", true),
        ("a{01}", "a{01}", true),
        ("a{1,02}", "a{1,02}", true),
        ("/users/{id}", "/users/{id}", true),
        ("a{1,x}", "a{1,x}", true),
        ("a{1,2,3}", "a{1,2,3}", true),
        ("a{", "a{", true),
        ("a{}", "a{}", true),
        ("x*{a}", "xx{a}", true),
        ("a}", "a}", true),
        ("(?:ab)+?", "abab", true),
        ("(?:a*)*", "aaa", true),
        ("a(?i)*", "aa", true), // flags are no piece: what is before them is repeated
        ("a*(?i)*", "aa", true),
        ("a(?i)b", "aB", true),
        ("a(?i)b", "AB", false),
        ("(a(?i)b)c", "aBc", true),
        ("(a(?i)b)c", "aBC", false),
        ("a|(?i)b|c", "C", true),
        ("a|(?i)b|c", "A", false),
        ("(?i-i)a", "A", false),
        ("(?i:a)b", "Ab", true),
        ("(?i:a)b", "AB", false),
        ("(?)a", "a", true),
        ("(?:)a", "a", true),
        ("(?U)a+", "aa", true),
        ("^*a", "a", true),
        (r"\b+a", "a", true),
        ("a||b", "", true),
        ("(|a)b", "ab", true),
        ("()", "", true),
        ("(?P<n>a)", "a", true),
        ("(?<n>a)", "a", true),
        ("(?P<1>a)(?P<1>b)", "ab", true), // nobody asks for the names
        ("((a{10}){10}){10}", "a", false),
        ("(a{2}){3}", "aaaaaa", true),
    ]);
}

#[test]
fn searching_is_not_anchored() {
    let found = |re2: &str, value: &str| {
        let regex = search(re2).unwrap_or_else(|bad| panic!("`{re2}` {bad}"));
        regex.engine.find(value.as_bytes()).map(|found| found.range())
    };
    assert_eq!(found("b+", "abbc"), Some(1..3));
    assert_eq!(found("(?U)b+", "abbc"), Some(1..2));
    assert_eq!(found("(?U)b+?", "abbc"), Some(1..3));
    assert_eq!(found("^b", "abbc"), None);
    assert_eq!(found("a|ab", "ab"), Some(0..1));
    assert_eq!(found(".", "é"), Some(0..1));
    assert_eq!(found("a||b", "b"), Some(0..0));
    assert!(search("a)(b").is_err());
    assert_eq!(search(r"[\w-.]+").expect("a regex").as_str(), r"[\w-.]+");
}

#[test]
fn groups_count_by_their_parentheses() {
    for (re2, value, expected) in [
        ("(a)(?:b)(?i:c)(?P<n>d)", "abcd", &["abcd", "a", "d"][..]),
        ("(a){0}b", "b", &["b", ""]),
        ("(a){0}?(b)", "b", &["b", "", "b"]),
        ("((a)|b)+", "ab", &["ab", "b", "a"]),
        ("(a*)+", "aa", &["aa", "aa"]),
        ("(a|ab)(c|bcd)", "abcd", &["abcd", "a", "bcd"]),
        (r"\(a\)[(](b)", "(a)(b", &["(a)(b", "b"]),
        (r"\Q(a)\E(b)", "(a)b", &["(a)b", "b"]),
    ] {
        let regex = search(re2).unwrap_or_else(|bad| panic!("`{re2}` {bad}"));
        assert_eq!(regex.captures_len(), expected.len(), "`{re2}`");
        let captures = regex.engine.captures(value.as_bytes()).unwrap_or_else(|| panic!("`{re2}` matches"));
        let groups: Vec<&[u8]> =
            captures.iter().map(|group| group.map_or(&b""[..], |group| group.as_bytes())).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|text| text.as_bytes()).collect();
        assert_eq!(groups, expected, "`{re2}`");
    }
}

#[test]
fn refused_with_the_place_and_what_to_write() {
    for (re2, at, problem, write) in [
        ("a(b", 2, "no \")\" closes the group", r#"write ")" behind it, or "\(""#),
        ("é(b", 2, "no \")\" closes the group", ""), // characters, not bytes
        ("a)(b", 2, "no \"(\" opens what this \")\" closes", r#"write "\)""#),
        ("x[a", 2, "no \"]\" closes the class", r#"write "]""#),
        ("x[]", 2, "no \"]\" closes the class", r#"a "]" right behind the bracket is a literal"#),
        ("x[^]a", 2, "no \"]\" closes the class", "right behind the bracket"),
        (r"[\]", 1, "no \"]\" closes the class", ""),
        ("[xb-a]", 3, "the range \"b-a\" ends before it begins", "the lower end first"),
        ("[я-а]", 2, "the range \"я-а\" ends before it begins", ""), // to Go
        (r"[\xe9-é]", 2, "ends before it begins", ""),               // to Envoy
        ("[a-é-z]", 4, "the range \"é-z\" ends before it begins", ""), // to Envoy
        (r"[a-\d]", 2, r#"a range cannot end with the class "\d""#, r#""-" last"#),
        (r"[a-\pL]", 2, r#"a range cannot end with the class "\p""#, r#""-" last"#),
        ("[[:foo:]]", 2, "\"[:foo:]\" is not a class: there are alnum", "one of those"),
        ("[[:Alpha:]]", 2, "\"[:Alpha:]\" is not a class", ""),
        ("[a[:b]c:]", 3, "\"[:b]c:]\" is not a class", ""),
        (r"\p{Alphabetic}", 1, r#"RE2 has no class of Unicode by the name "\p{Alphabetic}""#, r"\p{Greek}"),
        (r"\pX", 1, "no class of Unicode", ""),
        (r"\p{greek}", 1, "no class of Unicode", ""),
        (r"a\p{Greek", 2, "braces", r"\p{Greek}"),
        (r"\p", 1, "no class of Unicode", ""),
        (r"a\", 2, "at the end escapes nothing", r#"write "\\""#),
        (r"(a)\1", 4, r#""\1" would be a backreference"#, "spell out"),
        (r"\8", 1, "backreference", ""),
        (r"\19", 1, "backreference", ""),
        (r"\400", 1, r#""\400" is more than a byte"#, "the character itself"),
        (r"\x{100}", 1, r#""\x{100}" is more than a byte"#, "the character itself"),
        (r"\x{10FFFF}", 1, "more than a byte", ""),
        (r"\x{}", 1, "no two hexadecimal digits", r"\x2F"),
        (r"\x{4", 1, "no two hexadecimal digits", ""),
        (r"\x4", 1, "no two hexadecimal digits", ""),
        (r"\xZZ", 1, "no two hexadecimal digits", ""),
        (r"\u{41}", 1, r#""\u" is not an escape of RE2"#, r"\x41"),
        (r"\C", 1, "refused by Istio", "(?s:.)"),
        (r"a\Z", 2, "not a place that RE2 knows", r"\z"),
        (r"\h", 1, "not an escape of RE2", "class"),
        (r"\y", 1, "not an escape of RE2", "without the backslash"),
        (r"\é", 1, "not an escape", "without the backslash"),
        (r"\E", 1, "ends nothing", ""),
        (r"[\Qa]\E]", 2, "does not quote in a class", ""),
        (r"[\b]", 2, "not a literal", r"\x08"),
        (r"[\A]", 2, "not a literal", ""),
        ("*", 1, "\"*\" has nothing before it to repeat", ".*"),
        ("a|+?", 3, "\"+?\" has nothing before it", ""),
        ("(*a)", 2, "nothing before it", ""),
        ("{2}", 1, "\"{2}\" has nothing before it", ""),
        ("(?i)*", 5, "nothing before it", ""),
        (r"\Q\E*", 5, "nothing before it", ""),
        ("ba**", 3, "\"**\" repeats a repetition", "(?:a*)*"),
        ("x*+", 2, "\"*+\" repeats a repetition", ""),
        ("x{2}{3}", 2, "\"{2}{3}\" repeats a repetition", ""),
        ("x*??", 2, "\"*??\" repeats a repetition", ""),
        ("x{3,2}", 2, "\"{3,2}\" repeats at least 3 times and at most fewer", "lower number first"),
        ("a{1001}", 2, "\"{1001}\" repeats more than 1000 times", "{2,}"),
        ("a{2,1001}", 2, "more than 1000", ""),
        ("a{99999999999}", 2, "more than 1000", ""),
        ("(a{1000}){1000}", 10, "\"{1000}\" and what it repeats repeat more than 1000 times together", "repeat less"),
        ("((a{1000}){0}){2}", 15, "together", ""),
        ("(?=a)", 1, "\"(?=\" would look around", "match all of the text"),
        ("(?!a)", 1, "\"(?!\" would look around", ""),
        ("(?<=a)", 1, "\"(?<=\" would look around", ""),
        ("(?<!a)", 1, "\"(?<!\" would look around", ""),
        ("(?>a)", 1, "atomic", "(?:...)"),
        ("(?#a)", 1, "comment", ""),
        ("(?|a)", 1, "number groups anew", ""),
        ("(?P=n)", 1, "\"(?P=\" is neither flags nor a name", "backreferences"),
        ("(?P>n)", 1, "neither flags nor a name", ""),
        ("(?R)", 1, "repeat the pattern in itself", ""),
        ("(?1)", 1, "repeat a group", ""),
        ("(?x)a b", 1, "\"(?x\" has the flag x", "without blanks"),
        ("(?ix)a b", 1, "\"(?ix\" has the flag x", ""),
        ("(?u)", 1, "\"(?u\" is not a group of RE2", "(?imsU)"),
        ("(?-u)", 1, "not a group of RE2", ""),
        ("(?-)", 1, "not a group of RE2", ""),
        ("(?i-)", 1, "not a group of RE2", ""),
        ("(?--i)", 1, "not a group of RE2", ""),
        ("(?'n'a)", 1, "not a group of RE2", ""),
        ("(?", 1, "\"(?\" is not finished", ""),
        ("(?i", 1, "\"(?i\" is not finished", ""),
        ("(?P<n", 1, "no proper name", "(?P<name>...)"),
        ("(?P<>a)", 1, "no proper name", ""),
        ("(?<n-m>a)", 1, "no proper name", ""),
        ("(?P<ê>a)", 1, "no proper name", ""), // to Go; Envoy takes ê and not é
    ] {
        match full_match(re2) {
            Err(BadRegex::Syntax(mistake)) => {
                assert_eq!(mistake.at, at, "`{re2}`: {mistake}");
                assert!(mistake.problem.contains(problem), "`{re2}`: {mistake}");
                assert!(mistake.write.contains(write), "`{re2}`: {}", mistake.write);
                assert!(!mistake.write.is_empty(), "`{re2}`");
            }
            other => panic!("`{re2}`: {other:?}"),
        }
    }
    let text = full_match("a(b").map_err(|bad| bad.to_string()).err();
    let expected = "is not a valid regular expression: at character 2: no \")\" closes the group that begins here";
    assert_eq!(text.as_deref(), Some(expected));
}

/// Istio lets Envoy have programs of 32,768 instructions.
#[test]
fn size() {
    for (piece, most) in [
        ("x{1000}", 32),
        ("(?:a?){1000}", 16),
        ("(?:(a)?){1000}", 8),
        ("[a-z0-9]{1000}", 16),
        ("(?i)[a-z]{1000}", 32),
        (r"\pL{1000}", 4),
        ("(x{1000})", 32),
    ] {
        full_match(&piece.repeat(most)).unwrap_or_else(|bad| panic!("{most} of `{piece}` {bad}"));
        assert_eq!(full_match(&piece.repeat(most + 1)).err(), Some(BadRegex::TooLarge), "{piece}");
    }
}

/// As deep as is allowed, on the stack of a thread.
#[test]
fn depth() {
    for (opened, middle, closed, levels) in [
        ("(", "", ")", 99),
        ("(", "", ")*", 49),
        ("(a|", "", ")", 99),
        ("(?:a", "", "b)+", 49),
        ("(?:a|(b", "", ")c)+", 33),
        ("", "a", "(?i)*", 99),
    ] {
        let nested = |levels: usize| [&opened.repeat(levels), middle, &closed.repeat(levels)].concat();
        full_match(&nested(levels)).unwrap_or_else(|bad| panic!("{opened}{closed}: {bad}"));
        for levels in [levels + 2, 20_000] {
            let bad = full_match(&nested(levels)).expect_err("too deep").to_string();
            assert!(bad.contains("more than 100 deep"), "{opened}{closed} {levels}: {bad}");
        }
    }
}

/// Expressions of RE2's grammar, and now and then of others.
fn grammar() -> impl Strategy<Value = String> {
    let class_item = prop_oneof![
        r"[a-e\-^:&~\[]",
        r"[a-c]-[d-f]",
        Just(r"\w".to_owned()),
        Just(r"\D".to_owned()),
        Just(r"\p{Lu}".to_owned()),
        Just("[:alpha:]".to_owned()),
        Just("[:^digit:]".to_owned()),
        Just(r"\x41".to_owned()),
        Just("é-ü".to_owned()),
    ];
    let class = (prop_oneof![Just("["), Just("[^"), Just("[]"), Just("[^]")], prop::collection::vec(class_item, 1..4))
        .prop_map(|(open, items)| format!("{open}{}]", items.concat()));
    let atom = prop_oneof![
        4 => r"[a-zA-Z0-9/_ é-]",
        1 => r"[.^$|]",
        1 => r"\\[dDwWsSbBAzpP.\-0-7x{QEC]",
        1 => r"\\p(L|\{Lu\}|\{\^N\}|\{Greek\})",
        1 => r"\(\?[imsU]{0,2}-?[imsU]?[:)]",
        1 => r"\\Q[a.]{0,2}(\\E)?",
        2 => class,
    ];
    let repeat = prop_oneof![4 => Just(String::new()), 1 => r"[*+?]\??", 1 => r"\{[0-3](,[0-3]?)?\}\??"];
    let piece = (atom, repeat).prop_map(|(atom, repeat)| atom + &repeat);
    let text = prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat());
    text.prop_recursive(4, 24, 4, |inner| {
        let group = (prop_oneof![Just("("), Just("(?:"), Just("(?i:"), Just("(?P<n>")], inner.clone(), r"\)[*+?]?");
        let group = group.prop_map(|(open, inner, close)| format!("{open}{inner}{close}"));
        prop::collection::vec(prop_oneof![group, inner], 1..4).prop_map(|parts| parts.concat())
    })
}

proptest! {
    #[test]
    fn no_text_panics(re2: String, classy in r"[\[\]^&~:\\QE{},0-9a*?()-]{0,16}") {
        let _ = full_match(&re2);
        let _ = full_match(&classy);
    }

    /// What the parser takes, the engine takes: it never has a mistake of its own to tell of.
    #[test]
    fn the_engine_takes_what_the_parser_takes(re2 in grammar()) {
        if let Ok(translated) = parser::translate(&re2) {
            let taken = full_match(&re2);
            prop_assert!(taken.is_ok(), "{} is {}: {:?}", re2, translated.text, taken);
        }
    }

    /// A group changes nothing, but that its flags end with it.
    #[test]
    fn a_group_around_it_changes_nothing(re2 in grammar(), value in "[a-f/A é-]{0,6}") {
        if let (Ok(plain), Ok(grouped)) = (full_match(&re2), full_match(&format!("(?:{re2})"))) {
            prop_assert_eq!(plain.is_match(value.as_bytes()), grouped.is_match(value.as_bytes()));
        }
    }

    #[test]
    fn quoted_text_matches_itself(text in r"[^\\]{0,20}") {
        let quoted = full_match(&format!(r"\Q{text}\E")).expect("plain text");
        prop_assert!(quoted.is_match(text.as_bytes()));
    }

    #[test]
    fn a_byte_in_octal_and_in_hexadecimal_is_that_byte(byte: u8) {
        for re2 in [format!(r"\{byte:03o}"), format!(r"[\{byte:03o}]"), format!(r"\x{byte:02x}"), format!(r"\x{{{byte:x}}}")] {
            prop_assert!(compiled(&re2).is_match(&[byte]), "{}", re2);
            prop_assert!(!compiled(&re2).is_match(&[byte ^ 1]), "{}", re2);
        }
    }
}

#[test]
fn classes_of_characters_are_told_as_they_are_written() {
    for (re2, class) in [
        ("[é]", Some("[é]")),
        ("a[^äö]+[é]", Some("[^äö]")),
        ("(x[a-zé]|y)", Some("[a-zé]")),
        ("é", None),
        ("(é|ü)[a-z]", None),
        (r"é[\x41]", None),
        (r"\Q[é]\E", None),
        (r"\[é\]", None),
        ("[é", None),
        ("[a-z]", None),
    ] {
        assert_eq!(super::split_class(re2).as_deref(), class, "{re2}");
    }
}

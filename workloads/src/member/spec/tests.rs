use super::*;

fn standard(name: &str) -> MemberSpec {
    let text = STANDARD.iter().find(|(n, _)| *n == name).expect("embedded").1;
    parse(name, text, false).expect("an embedded spec is sound").0
}

fn message(text: &str) -> String {
    parse("x.toml", text, false).expect_err("refused").to_string()
}

#[test]
fn the_embedded_spec_writes_out_every_default() {
    let mut spec = standard("member-update");
    spec.about.clear();
    spec.story.clear();
    assert_eq!(spec, MemberSpec::default());
    let text = STANDARD[0].1;
    let mut entries = Vec::new();
    flatten(DeTable::parse(text).expect("TOML").get_ref(), "", &mut entries);
    for (key, ..) in KEYS {
        assert!(entries.iter().any(|e| e.key == *key), "{key} is missing in member-update.toml");
    }
}

#[test]
fn a_spec_overrides_its_base() {
    let (spec, warnings) = parse(
        "mine.toml",
        "name = \"mine\"\nbase = \"member-read-mostly\"\nmembers = 5_000\n[value]\nmu = 6.5\n",
        false,
    )
    .expect("sound");
    assert!(warnings.is_empty());
    let mut expected = standard("member-read-mostly");
    expected.name = "mine".into();
    expected.story.clear();
    expected.members = 5000;
    expected.value_mu = 6.5;
    assert_eq!(spec, expected);
    assert_eq!(spec.mix_read, 0.95);
}

#[test]
fn errors_name_file_line_value_and_way_out() {
    assert_eq!(
        message("name = \"x\"\n\nmemberz = 10\n"),
        "x.toml:3: unknown key memberz (got 10); did you mean members?"
    );
    assert_eq!(
        message("[value]\nmu = 7\nsigmas = 0.4\n"),
        "x.toml:3: unknown key value.sigmas (got 0.4); did you mean value.sigma?"
    );
    assert_eq!(
        message("members = 0\n"),
        "x.toml:1: members is not a whole number in range (got 0); write 1 to 400000000"
    );
    assert_eq!(
        message("[key]\nbytes = 20"),
        "x.toml:2: key.bytes is not a length we make ids of (got 20); write 8, 16 or 36"
    );
    assert_eq!(
        message("members = \"many\""),
        "x.toml:1: members is of the wrong type (got many); write a number without quotes"
    );
    assert_eq!(
        message("\nbase = \"ycsb\""),
        "x.toml:2: unknown base (got ycsb); write one of member-update, member-read-mostly, member-contended, hot-profile, news-spike, feed-fanout"
    );
    assert_eq!(
        message("[arrivals]\nkind = \"burst\""),
        "x.toml:2: arrivals.kind is none of the known ones (got burst); write one of batches, poisson, constant, sine, spike"
    );
    assert!(
        message("[mix]\nread = 0.5\n")
            .starts_with("x.toml:2: mix.read + mix.update + mix.increment + mix.delete is 0.9")
    );
    let counted = message("[mix]\nread = 0.5\nincrement = 0.1\n");
    assert!(
        counted.starts_with("x.toml:3: mix.increment stands beside mix.update or mix.delete"),
        "{counted}"
    );
    assert!(
        message("members = 5\n[keys]\ncelebrities = 6\n").contains("keys.celebrities 6 is above members 5")
    );
    assert!(message("family = \"posts\"").contains("write one of profiles, feeds"));
    assert!(message("[value]\nmin = 9000\nmax = 500\n").contains("value.min 9000 is above value.max 500"));
    assert!(message("name = \"x\"\nmembers = \n").starts_with("x.toml:2: not TOML"));
    assert!(message("[[mix]]\nread = 1").starts_with("x.toml:1: unknown key mix"));
    assert!(message("[members]\nx = 1").contains("members is"));
    assert!(message("[value]\nmu = nan").contains("not a number in range"));
    assert!(message("members = 0x10").contains("members is not a whole number"));
}

#[test]
fn lenient_warns_of_unknown_keys_and_still_refuses_bad_values() {
    let (_, warnings) = parse("x.toml", "colour = 3\n", true).expect("lenient");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("x.toml:1: unknown key colour (got 3)"), "{}", warnings[0]);
    assert!(parse("x.toml", "members = -1\n", true).is_err());
}

#[test]
fn set_changes_a_key_and_names_what_it_refuses() {
    let mut spec = MemberSpec::default();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    spec.apply(&[pair("members", "100000"), pair("arrivals.kind", "poisson")]).expect("known keys");
    assert_eq!((spec.members, spec.arrival), (100_000, ArrivalKind::Poisson));
    let error = spec.apply(&[pair("member", "1")]).expect_err("unknown").to_string();
    assert_eq!(error, "--set member=1: unknown key member; did you mean members?");
    let error = spec.apply(&[pair("mix.read", "0.9")]).expect_err("sum").to_string();
    assert!(
        error.starts_with("--set mix.read=0.9: mix.read + mix.update + mix.increment + mix.delete is 1.3"),
        "{error}"
    );
}

#[test]
fn every_parameter_that_is_shown_can_be_set_to_what_is_shown() {
    let mut spec = standard("member-update");
    let shown: Vec<_> = spec.parameters().into_iter().map(|p| (p.name, p.value)).collect();
    let before = spec.clone();
    spec.apply(&shown).expect("shown values are sound");
    assert_eq!(spec, before);
}

#[test]
fn a_spec_is_told_from_rows() {
    for spec in ["# c\nname = \"x\"", "[mix]\nread=1", "\n\nvalue.mu = 7"] {
        assert!(looks_like_spec(spec), "{spec}");
    }
    for rows in [
        "",
        "{\"ts\":1}",
        "ts,key,op,value_bytes\n",
        "0,y:4=6,1,2,3,get,0",
        "# time, object, size\n0, 1, 2, 3",
    ] {
        assert!(!looks_like_spec(rows), "{rows}");
    }
}

#[test]
fn the_reference_lists_every_key_with_its_default_and_its_example_is_sound() {
    let reference = include_str!("../../../../docs/formats/workload-spec.md");
    let defaults = MemberSpec::default();
    for (key, slot, _) in KEYS {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("{key} is not in docs/formats/workload-spec.md"));
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        if !matches!(slot, Slot::Text(_)) {
            assert_eq!(columns[3], slot.get(&defaults), "{row}");
        }
        if let Slot::Whole(_, min, max) = slot {
            assert_eq!(columns[4], format!("{min} to {max}"), "{row}");
        }
        if let Slot::Number(_, min, max) = slot {
            assert_eq!(columns[4], format!("{min} to {max}"), "{row}");
        }
    }
    let example =
        reference.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let (spec, _) = parse("example", example, false).expect("the example is sound");
    assert_eq!((spec.name.as_str(), spec.members), ("night-shift", 50_000));
}

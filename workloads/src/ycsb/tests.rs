use super::*;
use crate::op::Access;
use crate::values::check;

fn named(name: &str) -> Ycsb {
    standard().find(|w| w.name() == name).expect("a core workload")
}

fn open_text(text: &str, lenient: bool) -> Result<(Ycsb, Vec<String>), WorkloadError> {
    open("x", "x".to_owned(), text, lenient)
}

fn message(text: &str) -> String {
    open_text(text, false).expect_err("refused").to_string()
}

#[test]
fn the_six_core_workloads_have_their_mixes() {
    let share = |name: &str, kind: OpKind| {
        let workload = named(name).configured(&[("recordcount".into(), "500".into())]).expect("known");
        workload.stream(Seed(1)).take(20_000).filter(|op| op.kind == kind).count() as f64 / 20_000.0
    };
    for (name, kind, expected) in [
        ("ycsb-a", OpKind::Get, 0.5),
        ("ycsb-a", OpKind::Put, 0.5),
        ("ycsb-b", OpKind::Get, 0.95),
        ("ycsb-c", OpKind::Get, 1.0),
        ("ycsb-d", OpKind::Get, 0.95),
        ("ycsb-d", OpKind::Insert, 0.05),
        ("ycsb-e", OpKind::Scan, 0.95),
        ("ycsb-f", OpKind::ReadModifyWrite, 0.5),
    ] {
        let share = share(name, kind);
        assert!((share - expected).abs() < 0.012, "{name} {kind}: {share}");
    }
}

#[test]
fn records_have_ycsb_s_keys_and_sizes_and_check_themselves() {
    let workload = named("ycsb-a");
    let preload: Vec<Op> = workload.preload(Seed(1)).take(4).collect();
    assert_eq!(preload[0].key.as_bytes(), b"user6284781860667377211");
    assert_eq!(preload[2].key.as_bytes(), b"user1820151046732198393");
    let value = preload[3].value.as_ref().expect("a record");
    assert_eq!(value.len(), 1000);
    check(value.as_bytes(), value.label().expect("generated")).expect("sound");
    let (ordered, _) =
        open_text("recordcount=20\ninsertorder=ordered\nzeropadding=6\ninsertstart=7", false).expect("sound");
    let keys: Vec<String> = ordered.preload(Seed(1)).map(|op| op.key.to_string()).collect();
    assert_eq!((keys[0].as_str(), keys.len()), ("user000007", 13));
}

#[test]
fn scans_stay_within_their_lengths_and_inserts_are_new() {
    let workload = named("ycsb-e").configured(&[("recordcount".into(), "50".into())]).expect("known");
    let mut newest = 49;
    for op in workload.stream(Seed(2)).take(5000) {
        match op.access() {
            Access::Scan => assert!((1..=100).contains(&op.rows_max) && op.key_index <= newest),
            _ => {
                assert_eq!((op.kind, op.key_index), (OpKind::Insert, newest + 1));
                newest += 1;
            }
        }
    }
    assert!(newest > 250);
}

#[test]
fn errors_name_file_line_value_and_way_out() {
    assert_eq!(
        message("recordcount=10\nreadproportions=0.5\n"),
        "x:2: unknown key readproportions (got 0.5); did you mean readproportion?"
    );
    assert_eq!(
        message("recordcount=ten"),
        "x:1: recordcount is not a whole number in range (got ten); write 0 to 2000000000"
    );
    let fork = message("recordcount=10\nfield_len_dist=constant");
    assert!(fork.starts_with("x:2: field_len_dist is a key of YCSB-C and YCSB-cpp"), "{fork}");
    assert!(
        message("recordcount=10\nworkload=site.ycsb.workloads.TimeSeriesWorkload")
            .contains("TimeSeriesWorkload is not known")
    );
    assert!(message("requestdistribution=zipf").contains("write one of uniform, zipfian"));
    assert!(message("fieldlengthdistribution=histogram").contains("second file"));
    assert!(message("readproportion=0\nupdateproportion=0").starts_with("x:1: no operation has a weight"));
    assert!(message("recordcount=5\ninsertstart=5").contains("leaves no records"));
}

#[test]
fn lenient_warns_of_unknown_keys_and_a_missing_recordcount_is_told() {
    let (workload, warnings) = open_text("colour=red\nbatch.size=4\n", true).expect("lenient");
    assert_eq!((workload.records(), warnings.len()), (1000, 3), "{warnings:?}");
    assert!(warnings[1].contains("go-ycsb"), "{warnings:?}");
    assert!(warnings[2].contains("no recordcount"), "{warnings:?}");
}

#[test]
fn every_shown_parameter_can_be_set_to_what_is_shown() {
    for workload in standard() {
        let shown: Vec<_> = workload.parameters().into_iter().map(|p| (p.name, p.value)).collect();
        let mut again = workload.spec.clone();
        again.apply(&shown).expect("shown values are sound");
        assert_eq!(again, workload.spec);
    }
}

#[test]
fn varying_fields_stay_within_their_lengths() {
    for lengths in ["uniform", "zipfian"] {
        let text =
            format!("recordcount=300\nfieldlength=50\nminfieldlength=10\nfieldlengthdistribution={lengths}");
        let (workload, _) = open_text(&text, false).expect("sound");
        let sizes: Vec<usize> =
            workload.preload(Seed(1)).filter_map(|op| op.value).map(|value| value.len()).collect();
        assert!(sizes.iter().all(|bytes| (100..=500).contains(bytes)));
        assert!(sizes.iter().collect::<std::collections::HashSet<_>>().len() > 50, "{lengths}");
    }
}

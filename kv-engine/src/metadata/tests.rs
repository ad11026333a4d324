//! The rules of `stores.xml`, one exact case each, and what both readers make of any text.

use proptest::prelude::*;

use super::*;
use crate::coordinator::{HandoffStrategy, Replication};
use crate::metadata::{Cluster, Retention, RoutingTier, StoreRouting};
use crate::ring::{ZoneId, ZoneQuotas};

const SERIALIZERS: &str = "<key-serializer><type>string</type></key-serializer>
<value-serializer><type>string</type></value-serializer>";
const MUST: &str =
    "<persistence>bdb</persistence><routing>client</routing><replication-factor>3</replication-factor>
<required-reads>2</required-reads><required-writes>1</required-writes>";

fn store(rest: &str) -> String {
    format!("<stores><store><name>s</name>{MUST}{SERIALIZERS}\n{rest}</store></stores>")
}

fn parse(text: &str) -> StoreDefinition {
    let mut stores = Stores::parse("s.xml", text).unwrap_or_else(|error| panic!("{error}")).stores;
    stores.pop().expect("one store")
}

fn check(text: &str, line: u32, words: &[&str]) {
    let error = Stores::parse("s.xml", text).expect_err(text);
    let said = error.to_string();
    assert_eq!(error.line, line, "{said}");
    assert!(said.starts_with(&format!("s.xml:{line}: ")), "{said}");
    for word in words {
        assert!(said.contains(word), "{said} doesn't say {word}");
    }
}

#[test]
fn defaults_are_filled_in() {
    let found = parse(&store(""));
    assert_eq!(
        found.replication,
        Replication::new(3, 2, 1).expect("valid"),
        "preferred are the required ones"
    );
    assert_eq!((found.routing, found.tier), (StoreRouting::Consistent, RoutingTier::Client));
    assert_eq!((found.hinted_handoff, found.hint_preflist_size, found.retention), (None, None, None));
    assert_eq!((found.memory_footprint_mb, found.owners.len(), found.description), (0, 0, None));
    assert_eq!(found.key_serializer.schemas, []);
}

#[test]
fn everything_that_is_given_is_taken() {
    let text = store(
        "<owners>a@b.c, d@e.f</owners><description>what it is for</description>
         <preferred-reads>3</preferred-reads><preferred-writes>2</preferred-writes>
         <hinted-handoff-strategy>proximity-handoff</hinted-handoff-strategy>
         <hint-preflist-size>5</hint-preflist-size><retention-days>30</retention-days>
         <retention-scan-throttle-rate>1000</retention-scan-throttle-rate>
         <retention-frequency>2</retention-frequency><memory-footprint>64</memory-footprint>
         <routing-strategy>zone-routing</routing-strategy><zone-replication-factor>
         <replication-factor zone-id=\"0\">2</replication-factor>
         <replication-factor zone-id=\"1\">1</replication-factor></zone-replication-factor>
         <zone-count-reads>0</zone-count-reads><zone-count-writes>1</zone-count-writes>",
    );
    let found = parse(&text);
    assert_eq!((found.replication.preferred_reads(), found.replication.preferred_writes()), (3, 2));
    let quotas = ZoneQuotas::new([(ZoneId(0), 2), (ZoneId(1), 1)], 3).expect("three");
    assert_eq!(found.routing, StoreRouting::Zone { quotas, reads: 0, writes: 1 });
    assert_eq!((found.hinted_handoff, found.hint_preflist_size), (Some(HandoffStrategy::Proximity), Some(5)));
    let retention = Retention { days: 30, frequency_days: Some(2), scan_bytes_per_s: Some(1000) };
    assert_eq!((found.retention, found.memory_footprint_mb), (Some(retention), 64));
    assert_eq!(found.owners, ["a@b.c", "d@e.f"]);
    assert_eq!(found.description.as_deref(), Some("what it is for"));
}

#[test]
fn elements_come_in_any_order_and_a_file_may_hold_one_store() {
    let text = format!("<store>{SERIALIZERS}{MUST}<name>alone</name></store>");
    assert_eq!(parse(&text).name, "alone");
}

#[test]
fn counts_are_checked_at_their_line() {
    let with = |n: u16, r: u16, w: u16, rest: &str| {
        format!(
            "<stores><store><name>s</name><persistence>bdb</persistence><routing>client</routing>{SERIALIZERS}
<replication-factor>{n}</replication-factor>
<required-reads>{r}</required-reads>
<required-writes>{w}</required-writes>
{rest}</store></stores>"
        )
    };
    check(&with(0, 1, 1, ""), 3, &["replicas", "\"0\"", "at least 1"]);
    check(&with(3, 4, 1, ""), 4, &["required reads can't be 4", "1 to 3"]);
    check(&with(3, 1, 0, ""), 5, &["required writes can't be 0"]);
    check(
        &with(3, 2, 2, "<preferred-reads>1</preferred-reads>"),
        6,
        &["preferred reads can't be 1", "2 (required)"],
    );
    check(&with(3, 2, 2, "<preferred-writes>4</preferred-writes>"), 6, &["3 (replicas)"]);
    check(&with(3, 2, 2, "<preferred-writes>-1</preferred-writes>"), 6, &["\"-1\""]);
    assert!(Stores::parse("s.xml", &with(3, 1, 1, "")).is_ok(), "nobody asks for R + W > N");
    check(&store("").replace("<required-reads>2</required-reads>", ""), 1, &["lacks <required-reads>"]);
}

#[test]
fn zone_routing_needs_quotas_and_counts_below_the_number_of_zones() {
    let zone = "<routing-strategy>zone-routing</routing-strategy>";
    let quotas = |second: u16| {
        format!(
            "<zone-replication-factor>\n<replication-factor zone-id=\"0\">2</replication-factor>
<replication-factor zone-id=\"1\">{second}</replication-factor></zone-replication-factor>\n"
        )
    };
    let counts = |reads: u16| {
        format!("<zone-count-reads>{reads}</zone-count-reads><zone-count-writes>0</zone-count-writes>")
    };
    check(&store(zone), 1, &["lacks <zone-replication-factor>"]);
    check(&store(&format!("{zone}{}", quotas(1))), 1, &["lacks <zone-count-reads>"]);
    check(&store(&format!("{zone}{}{}", quotas(2), counts(0))), 4, &["4 together", "3 replicas"]);
    check(&store(&format!("{zone}{}{}", quotas(1), counts(2))), 7, &["zone-count-reads", "0 to 1"]);
    // A zone without replicas doesn't count.
    let alone = quotas(0).replace(">2<", ">3<");
    check(&store(&format!("{zone}{alone}{}", counts(1))), 7, &["0 to 0"]);
    assert!(Stores::parse("s.xml", &store(&format!("{zone}{}{}", quotas(1), counts(1)))).is_ok());
}

#[test]
fn what_the_original_passes_over_is_noticed() {
    let text = store(
        "<hinted-handoff-strategy>some-handoff</hinted-handoff-strategy>\n<retention-days>0</retention-days>",
    );
    let stores = Stores::parse("s.xml", &text).expect("valid");
    assert_eq!((stores.stores[0].hinted_handoff, stores.stores[0].retention), (None, None));
    let lines: Vec<_> = stores.notices.iter().map(|notice| notice.line).collect();
    assert_eq!(lines, [4, 5]);
    assert!(stores.notices[0].what.contains("some-handoff"));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    check(&store("<colour>red</colour>"), 4, &["colour", "persistence"]);
    check(&store("<name>twice</name>"), 4, &["name", "twice"]);
    check(&store("<routing-strategy>some</routing-strategy>"), 4, &["some", "all-routing"]);
    check(&store("").replace(">bdb<", ">floppy<"), 1, &["floppy", "rocksdb"]);
    check(&store("").replace(">client<", ">both<"), 1, &["both", "server"]);
    check(&store("<hint-preflist-size>0</hint-preflist-size>"), 4, &["hint-preflist-size"]);
    let two = "<type>json</type><schema-info version=\"0\">a</schema-info><schema-info version=\"1\">b</schema-info>";
    let keyed = store("").replacen("<type>string</type>", two, 1);
    check(&keyed, 2, &["several schemas"]);
    let same = two.replace("\"1\"", "\"0\"");
    check(&store("").replacen("<type>string</type>", &same, 1), 2, &["two schemas of one version"]);
    let many = store("").replace("</stores>", "\n<store/></stores>");
    check(&many, 5, &["lacks"]);
    check("<stores></stores>", 1, &["no store"]);
    check("<cluster/>", 1, &["cluster", "<stores>"]);
}

#[test]
fn a_views_counts_are_its_stores_required_reads_unless_given() {
    let view = "<view><name>v</name><view-of>s</view-of><view-class>x.Y</view-class>
<preferred-writes>3</preferred-writes></view>";
    let text =
        store("<preferred-reads>3</preferred-reads>").replace("</stores>", &format!("{view}</stores>"));
    let stores = Stores::parse("s.xml", &text).expect("valid");
    let counts = Replication::new(3, 2, 2).and_then(|counts| counts.preferring(2, 3)).expect("valid");
    assert_eq!(stores.views[0].replication, counts);
    assert_eq!(stores.views[0].value_serializer, stores.stores[0].value_serializer);
    check(&text.replace("<view-of>s<", "<view-of>t<"), 4, &["\"t\"", "s"]);
    check(&text.replace("<name>v<", "<name>s<"), 4, &["one name"]);
}

#[test]
fn depth_and_size_cost_no_more_than_the_text() {
    let deep = "<a>".repeat(100_000);
    assert!(Stores::parse("s.xml", &deep).is_err());
    assert!(Cluster::parse("c.xml", &format!("{deep}{}", "</a>".repeat(100_000))).is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        any in ".{0,200}",
        at in 0usize..400, cut in 0usize..40, into in "[<>/&\"a-z0-9 -]{0,12}",
    ) {
        let _ = Stores::parse("s.xml", &any);
        let _ = Cluster::parse("c.xml", &any);
        let server = "<server><id>0</id><host>h</host><http-port>1</http-port><socket-port>2</socket-port>\
            <partitions>0, 1</partitions></server>";
        for text in [store(""), format!("<cluster><name>c</name>{server}</cluster>")] {
            let from = at.min(text.len());
            let to = (from + cut).min(text.len());
            let changed = format!("{}{into}{}", &text[..from], &text[to..]);
            if let Err(error) = Stores::parse("s.xml", &changed) {
                prop_assert!(error.line >= 1);
            }
            let _ = Cluster::parse("c.xml", &changed);
        }
    }
}

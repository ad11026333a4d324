//! One `<store>` or `<view>` of a `stores.xml`: [`StoreDefinition`], [`ViewDefinition`].

use std::sync::Arc;

use super::cluster::Cluster;
use super::stores::Notice;
use super::xml::{Element, Fields, MetadataError};
use crate::coordinator::{ClientConfig, HandoffStrategy, Replication};
use crate::ring::{Routing, RoutingStrategy, ZoneId, ZoneQuotas};

/// Who routes a store's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingTier {
    /// The client knows the ring and asks the replicas itself.
    Client,
    /// Any server does it for the client.
    Server,
}

/// How a store's keys are dealt out: what `routing-strategy` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreRouting {
    /// `consistent-routing`, the default.
    Consistent,
    /// `zone-routing`.
    Zone {
        /// Replicas in each zone; together they are N.
        quotas: ZoneQuotas,
        /// So many zones besides one must answer a read.
        reads: u16,
        /// So many zones besides one must acknowledge a write.
        writes: u16,
    },
    /// `all-routing`.
    All,
    /// `local-pref-all-routing`.
    LocalPrefAll,
}

/// How keys or values become bytes. Clients do that; a server sees bytes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serializer {
    /// `string`, `json`, `identity`, `avro-generic` ...
    pub kind: String,
    /// Its schemas by version.
    pub schemas: Vec<Schema>,
    /// How the bytes are compressed. Default: not at all.
    pub compression: Option<Compression>,
}

/// One version of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// `None`: the file says `version="none"`, and values carry no version.
    pub version: Option<u8>,
    /// Its text.
    pub text: String,
}

/// How bytes are compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// `gzip`, `lzf`, `snappy`.
    pub kind: String,
    /// Options for it.
    pub options: Option<String>,
}

/// When values are thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// After so many days, by the clock's timestamp.
    pub days: u32,
    /// How often that is looked at, in days.
    pub frequency_days: Option<u32>,
    /// How many bytes a second the scan may read.
    pub scan_bytes_per_s: Option<u32>,
}

/// What a `<store>` says, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDefinition {
    /// Its name.
    pub name: String,
    /// Which engine keeps it: `bdb`, `memory`, `rocksdb`, `read-only` ...
    pub persistence: String,
    /// Who routes.
    pub tier: RoutingTier,
    /// How keys become bytes.
    pub key_serializer: Serializer,
    /// How values become bytes.
    pub value_serializer: Serializer,
    /// N, R, W and the preferred counts.
    pub replication: Replication,
    /// How keys are dealt out.
    pub routing: StoreRouting,
    /// Who keeps hints. Default: nobody.
    pub hinted_handoff: Option<HandoffStrategy>,
    /// How many nodes are asked to keep a hint. Default: N, or N-1 where the cluster has no more nodes.
    pub hint_preflist_size: Option<u16>,
    /// When values are thrown away. Default: never.
    pub retention: Option<Retention>,
    /// What it is for.
    pub description: Option<String>,
    /// Whose it is.
    pub owners: Vec<String>,
    /// Cache that the engine reserves for it, in MB. Default: 0, none of its own.
    pub memory_footprint_mb: u32,
}

/// What a `<view>` says: a store's values, changed by a class on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewDefinition {
    /// Its name.
    pub name: String,
    /// The store that it shows.
    pub view_of: String,
    /// What changes the values.
    pub view_class: String,
    /// How its values become bytes. Default: as the store's.
    pub value_serializer: Serializer,
    /// How transforms become bytes.
    pub transforms_serializer: Option<Serializer>,
    /// What makes its serializers.
    pub serializer_factory: Option<String>,
    /// As the store's, but each count that isn't given is the store's required reads: the original's way.
    pub replication: Replication,
    /// What it is for.
    pub description: Option<String>,
    /// Whose it is.
    pub owners: Vec<String>,
}

const STORE: &[&str] = &[
    "name",
    "persistence",
    "description",
    "owners",
    "routing",
    "routing-strategy",
    "replication-factor",
    "zone-replication-factor",
    "preferred-reads",
    "required-reads",
    "preferred-writes",
    "required-writes",
    "zone-count-reads",
    "zone-count-writes",
    "hinted-handoff-strategy",
    "hint-preflist-size",
    "key-serializer",
    "value-serializer",
    "retention-days",
    "retention-frequency",
    "retention-scan-throttle-rate",
    "memory-footprint",
];
const VIEW: &[&str] = &[
    "name",
    "view-of",
    "owners",
    "description",
    "view-class",
    "view-serializer-factory",
    "value-serializer",
    "transforms-serializer",
    "preferred-reads",
    "required-reads",
    "preferred-writes",
    "required-writes",
    "zone-count-reads",
    "zone-count-writes",
];
const PERSISTENCE: &[&str] =
    &["bdb", "memory", "cache", "read-only", "rocksdb", "mysql", "view", "file-backed-cache"];
const COUNTS: &str = "a number from 0 to 65535";

impl StoreDefinition {
    pub(super) fn read(element: Element<'_>, notices: &mut Vec<Notice>) -> Result<Self, MetadataError> {
        let fields = element.fields(STORE)?;
        let replication = replication(&fields, None)?;
        let key = fields.need("key-serializer")?;
        let key_serializer = serializer(key)?;
        if key_serializer.schemas.len() > 1 {
            let count = key_serializer.schemas.len().to_string();
            return Err(key.error(
                "a key with several schemas",
                count,
                "keep one: stored keys must stay equal",
            ));
        }
        Ok(Self {
            name: fields.need("name")?.filled()?,
            persistence: one_of(fields.need("persistence")?, PERSISTENCE)?,
            tier: match one_of(fields.need("routing")?, &["client", "server"])?.as_str() {
                "client" => RoutingTier::Client,
                _ => RoutingTier::Server,
            },
            value_serializer: serializer(fields.need("value-serializer")?)?,
            key_serializer,
            replication,
            routing: routing(&fields, replication)?,
            hinted_handoff: hinted_handoff(&fields, notices)?,
            hint_preflist_size: hint_preflist_size(&fields)?,
            retention: retention(&fields, notices)?,
            description: fields.text("description")?,
            owners: fields.list("owners")?,
            memory_footprint_mb: fields.number("memory-footprint", "megabytes")?.unwrap_or(0),
        })
    }

    /// Which nodes of a cluster hold the store's keys. `local_host` and `seed` matter where every node does: a server on
    /// that host is asked first, and the seed shuffles the others.
    #[must_use]
    pub fn routing_in(&self, cluster: &Cluster, local_host: Option<&str>, seed: u64) -> Routing {
        Routing::new(
            Arc::clone(cluster.ring()),
            self.strategy(cluster, local_host, seed),
            self.replication.n(),
        )
    }

    fn strategy(&self, cluster: &Cluster, local_host: Option<&str>, seed: u64) -> RoutingStrategy {
        match &self.routing {
            StoreRouting::Consistent => RoutingStrategy::Consistent,
            StoreRouting::Zone { quotas, .. } => RoutingStrategy::Zone(quotas.clone()),
            StoreRouting::All => RoutingStrategy::All { seed },
            StoreRouting::LocalPrefAll => {
                let here = |server: &&super::Server| local_host.is_some_and(|host| server.host == host);
                let local = cluster.servers().iter().find(here).map(|server| server.node);
                RoutingStrategy::LocalPrefAll { local, seed }
            }
        }
    }

    /// A client's settings for the store, otherwise with the original's defaults. For `local_host` and `seed` see
    /// [`StoreDefinition::routing_in`].
    #[must_use]
    pub fn client_config(&self, cluster: &Cluster, local_host: Option<&str>, seed: u64) -> ClientConfig {
        let (zone_count_reads, zone_count_writes) = match self.routing {
            StoreRouting::Zone { reads, writes, .. } => (reads, writes),
            _ => (0, 0),
        };
        ClientConfig {
            store: self.name.clone(),
            routing: self.strategy(cluster, local_host, seed),
            zone_count_reads,
            zone_count_writes,
            hinted_handoff: self.hinted_handoff,
            hint_preflist_size: self.hint_preflist_size,
            ..ClientConfig::new(self.replication)
        }
    }

    /// What in it doesn't fit a cluster: zones with replicas that the cluster doesn't have.
    #[must_use]
    pub fn zones_missing_in(&self, cluster: &Cluster) -> Vec<ZoneId> {
        let StoreRouting::Zone { quotas, .. } = &self.routing else { return Vec::new() };
        let has = |zone: &ZoneId| cluster.ring().zones().iter().any(|listed| listed.id() == *zone);
        quotas.zones().filter(|zone| !has(zone)).collect()
    }
}

impl ViewDefinition {
    pub(super) fn read(element: Element<'_>, stores: &[StoreDefinition]) -> Result<Self, MetadataError> {
        let fields = element.fields(VIEW)?;
        let of = fields.need("view-of")?;
        let view_of = of.filled()?;
        let Some(target) = stores.iter().find(|store| store.name == view_of) else {
            let names: Vec<_> = stores.iter().map(|store| store.name.as_str()).collect();
            let way_out = format!("name one of its stores: {}", names.join(", "));
            return Err(of.error("a view of a store that isn't in the file", view_of, way_out));
        };
        let own = fields.get("value-serializer").map(serializer).transpose()?;
        Ok(Self {
            name: fields.need("name")?.filled()?,
            view_class: fields.need("view-class")?.filled()?,
            value_serializer: own.unwrap_or_else(|| target.value_serializer.clone()),
            transforms_serializer: fields.get("transforms-serializer").map(serializer).transpose()?,
            serializer_factory: fields.text("view-serializer-factory")?,
            replication: replication(&fields, Some(target.replication))?,
            description: fields.text("description")?,
            owners: fields.list("owners")?,
            view_of,
        })
    }
}

fn one_of(element: Element<'_>, known: &[&str]) -> Result<String, MetadataError> {
    let text = element.text()?;
    if known.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(element.error(
        format!("<{}> is unknown", element.name()),
        text,
        format!("it is one of {}", known.join(", ")),
    ))
}

/// The counts of a store, or of a view of a store with `target`'s.
fn replication(fields: &Fields<'_>, target: Option<Replication>) -> Result<Replication, MetadataError> {
    let n = match target {
        Some(target) => target.n(),
        None => fields.need("replication-factor")?.number(COUNTS)?,
    };
    let by_target = target.map(Replication::r);
    let required = |name| match fields.number(name, COUNTS)?.or(by_target) {
        Some(count) => Ok(count),
        None => fields.need(name).map(|_| unreachable!("it isn't there")),
    };
    let (r, w) = (required("required-reads")?, required("required-writes")?);
    let preferred = |name, otherwise: u16| {
        Ok::<u16, MetadataError>(fields.number(name, COUNTS)?.or(by_target).unwrap_or(otherwise))
    };
    let (reads, writes) = (preferred("preferred-reads", r)?, preferred("preferred-writes", w)?);
    let made = Replication::new(n, r, w).and_then(|replication| replication.preferring(reads, writes));
    made.map_err(|error| {
        use crate::coordinator::ReplicationError as Error;
        let name = match &error {
            Error::Required { name, .. } | Error::Preferred { name, .. } => name.replace(' ', "-"),
            Error::NoReplicas => "replication-factor".to_owned(),
        };
        let at = fields.get(&name).or_else(|| fields.get("name"));
        let got = at.and_then(|at| at.text().ok()).unwrap_or_default();
        let text = error.to_string();
        let (what, way_out) = text.split_once(": ").unwrap_or((&text, "it is at least 1"));
        at.map_or_else(|| fields.need("name").expect_err("it isn't there"), |at| at.error(what, got, way_out))
    })
}

fn routing(fields: &Fields<'_>, replication: Replication) -> Result<StoreRouting, MetadataError> {
    const STRATEGIES: &[&str] =
        &["consistent-routing", "zone-routing", "all-routing", "local-pref-all-routing"];
    let strategy = fields.get("routing-strategy").map(|element| one_of(element, STRATEGIES)).transpose()?;
    match strategy.as_deref() {
        None | Some("consistent-routing") => Ok(StoreRouting::Consistent),
        Some("all-routing") => Ok(StoreRouting::All),
        Some("local-pref-all-routing") => Ok(StoreRouting::LocalPrefAll),
        Some(_) => {
            let element = fields.need("zone-replication-factor")?;
            let quotas = zone_quotas(element, replication.n())?;
            let replicating = quotas.zones().count();
            let count = |name| {
                let element = fields.need(name)?;
                let count: u16 = element.number(COUNTS)?;
                if usize::from(count) >= replicating {
                    let what = format!("<{name}> must be below the number of zones with replicas");
                    let way_out = format!("it is 0 to {}: zones besides one", replicating.saturating_sub(1));
                    return Err(element.error(what, count.to_string(), way_out));
                }
                Ok(count)
            };
            let (reads, writes) = (count("zone-count-reads")?, count("zone-count-writes")?);
            Ok(StoreRouting::Zone { quotas, reads, writes })
        }
    }
}

fn zone_quotas(element: Element<'_>, n: u16) -> Result<ZoneQuotas, MetadataError> {
    let mut quotas: Vec<(ZoneId, u16)> = Vec::new();
    for quota in element.elements()? {
        if quota.name() != "replication-factor" {
            let way_out =
                "it has <replication-factor zone-id=\"0\">2</replication-factor>, one for each zone";
            return Err(quota.error(
                "<zone-replication-factor> knows no such element",
                quota.name(),
                way_out,
            ));
        }
        let id = quota.attribute("zone-id").unwrap_or_default();
        let zone = id.trim().parse().map(ZoneId).map_err(|_| {
            quota.error("<replication-factor> names no zone", id, "give it zone-id=\"0\" or another zone's")
        })?;
        if quotas.iter().any(|(before, _)| *before == zone) {
            return Err(quota.error(format!("{zone} has two replication factors"), id, "keep one of them"));
        }
        quotas.push((zone, quota.number(COUNTS)?));
    }
    ZoneQuotas::new(quotas, n).map_err(|error| {
        let text = error.to_string();
        let (what, way_out) = text.split_once("; ").unwrap_or((&text, "make them equal"));
        element.error(what, n.to_string(), way_out)
    })
}

fn hinted_handoff(
    fields: &Fields<'_>,
    notices: &mut Vec<Notice>,
) -> Result<Option<HandoffStrategy>, MetadataError> {
    let Some(element) = fields.get("hinted-handoff-strategy") else { return Ok(None) };
    Ok(match element.text()?.as_str() {
        "any-handoff" => Some(HandoffStrategy::Any),
        "consistent-handoff" => Some(HandoffStrategy::Consistent),
        "proximity-handoff" => Some(HandoffStrategy::Proximity),
        other => {
            let what = format!(
                "the hinted-handoff strategy {other:?} is unknown, so there are no hints; it is any-handoff, \
                 consistent-handoff or proximity-handoff"
            );
            notices.push(Notice { line: element.line(), what });
            None
        }
    })
}

fn hint_preflist_size(fields: &Fields<'_>) -> Result<Option<u16>, MetadataError> {
    let Some(element) = fields.get("hint-preflist-size") else { return Ok(None) };
    match element.number(COUNTS)? {
        0 => Err(element.not_a_number("0", "a number from 1 to 65535")),
        size => Ok(Some(size)),
    }
}

fn retention(fields: &Fields<'_>, notices: &mut Vec<Notice>) -> Result<Option<Retention>, MetadataError> {
    let Some(element) = fields.get("retention-days") else { return Ok(None) };
    let days: i32 = element.number("a number of days")?;
    if days <= 0 {
        let what = format!("a retention of {days} days is ignored: values are kept for good");
        notices.push(Notice { line: element.line(), what });
        return Ok(None);
    }
    Ok(Some(Retention {
        days: days.unsigned_abs(),
        frequency_days: fields.number("retention-frequency", "a number of days")?,
        scan_bytes_per_s: fields.number("retention-scan-throttle-rate", "bytes per second")?,
    }))
}

fn serializer(element: Element<'_>) -> Result<Serializer, MetadataError> {
    let (mut kind, mut schemas, mut compression) = (None, Vec::<Schema>::new(), None);
    for part in element.elements()? {
        match part.name() {
            "type" if kind.is_none() => kind = Some(part.filled()?),
            "schema-info" => {
                let schema = Schema { version: schema_version(part)?, text: part.text()? };
                if schemas.iter().any(|before| before.version == schema.version) {
                    let version = part.attribute("version").unwrap_or("0");
                    return Err(part.error("two schemas of one version", version, "number them from 0 on"));
                }
                schemas.push(schema);
            }
            "compression" if compression.is_none() => {
                let fields = part.fields(&["type", "options"])?;
                let kind = one_of(fields.need("type")?, &["gzip", "lzf", "snappy"])?;
                compression = Some(Compression { kind, options: fields.text("options")? });
            }
            other => {
                let way_out = "it has one type, schema-info for each version, and perhaps one compression";
                return Err(part.error(format!("<{}> doesn't have that", element.name()), other, way_out));
            }
        }
    }
    if schemas.len() > 1 && schemas.iter().any(|schema| schema.version.is_none()) {
        return Err(element.error("several schemas, one without a version", "none", "number all of them"));
    }
    let kind = kind.ok_or_else(|| {
        element.error(format!("<{}> lacks <type>", element.name()), "", "add <type>string</type> or another")
    })?;
    Ok(Serializer { kind, schemas, compression })
}

fn schema_version(element: Element<'_>) -> Result<Option<u8>, MetadataError> {
    match element.attribute("version") {
        None => Ok(Some(0)),
        Some("none") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            element.error(
                "a schema's version is out of range",
                text,
                "it is 0 to 255: one byte before each value",
            )
        }),
    }
}

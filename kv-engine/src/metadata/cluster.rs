//! `cluster.xml`: [`Cluster`].

use std::sync::Arc;

use super::xml::{Element, Fields, MetadataError, document};
use crate::ring::{NodeId, Ring, RingError, Zone, ZoneId};

/// A server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its id: also its id in vector clocks.
    pub node: NodeId,
    /// Where it runs: a name or an address.
    pub host: String,
    /// Port for HTTP.
    pub http_port: u16,
    /// Port for clients.
    pub socket_port: u16,
    /// Port for administration. Default: the one after the clients'.
    pub admin_port: u16,
    /// Port for REST. Default: none.
    pub rest_port: Option<u16>,
    /// Its partitions; perhaps none.
    pub partitions: Vec<u32>,
    /// Its zone. Default: zone 0.
    pub zone: ZoneId,
}

/// What a `cluster.xml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    name: String,
    servers: Vec<Server>,
    ring: Arc<Ring>,
}

const NODE_IDS: &str = "a number from 0 to 32767";
const ZONE_IDS: &str = "a number from 0 to 65535";
const PORTS: &str = "a number from 0 to 65535";
/// The elements of a server, in the order in which they come.
const SERVER: &[&str] =
    &["id", "host", "http-port", "socket-port", "admin-port", "rest-port", "partitions", "zone-id"];

impl Cluster {
    /// Reads the text of a `cluster.xml`; `file` is its name, for errors.
    ///
    /// ```
    /// let text = "<cluster><name>two</name>
    ///   <server><id>0</id><host>a</host><http-port>8081</http-port><socket-port>6666</socket-port>
    ///     <partitions>0, 2</partitions></server>
    ///   <server><id>5</id><host>b</host><http-port>8081</http-port><socket-port>6666</socket-port>
    ///     <partitions>1</partitions></server>
    /// </cluster>";
    /// let cluster = kv_engine::Cluster::parse("cluster.xml", text)?;
    /// assert_eq!(cluster.ring().partitions(), 3);
    /// assert_eq!(cluster.servers()[1].admin_port, 6667);
    /// # Ok::<(), kv_engine::MetadataError>(())
    /// ```
    ///
    /// # Errors
    /// It isn't well-formed, or says what the original would refuse.
    pub fn parse(file: &str, text: &str) -> Result<Self, MetadataError> {
        let document = document(file, text)?;
        let root = Element::root(file, &document, "cluster")?;
        let mut elements = root.elements()?.into_iter().peekable();
        let name = match elements.next_if(|element| element.name() == "name") {
            Some(name) => name.text()?,
            None => {
                let first = elements.peek().unwrap_or(&root);
                return Err(first.error(
                    "<cluster> doesn't begin with <name>",
                    first.name(),
                    "begin with its name",
                ));
            }
        };
        let mut zones = Vec::new();
        while let Some(element) = elements.next_if(|element| element.name() == "zone") {
            zones.push((zone(element)?, element));
        }
        let mut servers = Vec::new();
        while let Some(element) = elements.next_if(|element| element.name() == "server") {
            servers.push((server(element)?, element));
        }
        if let Some(other) = elements.next() {
            let order = "the order is name, zones, servers";
            return Err(other.error("an element that doesn't belong here", other.name(), order));
        }
        if servers.is_empty() {
            return Err(root.error("the cluster has no server", "", "add a <server>"));
        }
        let listed = match zones.as_slice() {
            [] => vec![Zone::new(ZoneId(0), [])],
            zones => zones.iter().map(|(zone, _)| zone.clone()).collect(),
        };
        let nodes = servers.iter().map(|(server, _)| (server.node, server.zone, server.partitions.clone()));
        let ring = Ring::zoned(listed, nodes).map_err(|error| refused(root, &zones, &servers, &error))?;
        let servers = servers.into_iter().map(|(server, _)| server).collect();
        Ok(Self { name, servers, ring: Arc::new(ring) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The servers, in the order of the file.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The partitions and zones.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }
}

fn zone(element: Element<'_>) -> Result<Zone, MetadataError> {
    let fields = in_order(element, &["zone-id", "proximity-list"])?;
    let id = ZoneId(fields.need("zone-id")?.number(ZONE_IDS)?);
    let proximity = fields.need("proximity-list")?.numbers(ZONE_IDS)?;
    Ok(Zone::new(id, proximity.into_iter().map(ZoneId)))
}

fn server(element: Element<'_>) -> Result<Server, MetadataError> {
    let fields = in_order(element, SERVER)?;
    let id = fields.need("id")?;
    let node = NodeId(id.number(NODE_IDS)?);
    if node.0 > crate::ring::NODE_ID_MAX {
        return Err(id.not_a_number(&node.0.to_string(), NODE_IDS));
    }
    let socket_port: u16 = fields.need("socket-port")?.number(PORTS)?;
    Ok(Server {
        node,
        host: fields.need("host")?.filled()?,
        http_port: fields.need("http-port")?.number(PORTS)?,
        socket_port,
        admin_port: port(&fields, "admin-port")?.unwrap_or_else(|| socket_port.saturating_add(1)),
        rest_port: port(&fields, "rest-port")?,
        partitions: fields.need("partitions")?.numbers("numbers from 0 to 65535 with commas between them")?,
        zone: ZoneId(fields.number("zone-id", ZONE_IDS)?.unwrap_or(0)),
    })
}

/// A port that may be left out; the original writes -1 for that.
fn port(fields: &Fields<'_>, name: &str) -> Result<Option<u16>, MetadataError> {
    match fields.get(name) {
        Some(element) if element.text()? == "-1" => Ok(None),
        Some(element) => element.number(PORTS).map(Some),
        None => Ok(None),
    }
}

/// The fields of an element, in this order.
fn in_order<'a>(element: Element<'a>, order: &'static [&'static str]) -> Result<Fields<'a>, MetadataError> {
    let fields = element.fields(order)?;
    let place = |element: &Element<'_>| order.iter().position(|name| *name == element.name());
    let elements = element.elements()?;
    if let Some(pair) = elements.windows(2).find(|pair| place(&pair[0]) > place(&pair[1])) {
        let what = format!("<{}> has its elements in another order", element.name());
        return Err(pair[1].error(what, pair[1].name(), format!("the order is {}", order.join(", "))));
    }
    Ok(fields)
}

/// A ring's error at the line where it can be mended.
fn refused(
    root: Element<'_>,
    zones: &[(Zone, Element<'_>)],
    servers: &[(Server, Element<'_>)],
    error: &RingError,
) -> MetadataError {
    let last_server = |id: NodeId| servers.iter().rev().find(|(server, _)| server.node == id);
    let last_zone = |id: ZoneId| zones.iter().rev().find(|(zone, _)| zone.id() == id);
    let (at, got) = match error {
        RingError::NodeTwice { node } | RingError::NodeOutOfRange { node } => {
            (last_server(*node).map(|(_, at)| *at), node.0.to_string())
        }
        RingError::PartitionTwice { partition, second, .. } => {
            (last_server(*second).map(|(_, at)| *at), partition.to_string())
        }
        RingError::PartitionOutOfRange { partition }
        | RingError::PartitionMissing { highest: partition, .. } => {
            let owner = servers.iter().find(|(server, _)| server.partitions.contains(partition));
            (owner.map(|(_, at)| *at), partition.to_string())
        }
        RingError::NodeInUnknownZone { node, zone } => {
            (last_server(*node).map(|(_, at)| *at), zone.0.to_string())
        }
        RingError::ZoneTwice { zone } => (last_zone(*zone).map(|(_, at)| *at), zone.0.to_string()),
        RingError::UnknownZoneNear { zone, near } => {
            (last_zone(*zone).map(|(_, at)| *at), near.0.to_string())
        }
        RingError::Empty => (None, String::new()),
    };
    let text = error.to_string();
    let (what, way_out) = text.split_once("; ").unwrap_or((&text, "list them in <partitions>"));
    at.unwrap_or(root).error(what, got, way_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(zones: &str, servers: &[&str]) -> String {
        format!("<cluster>\n<name>c</name>\n{zones}\n{}\n</cluster>", servers.join("\n"))
    }

    fn server(id: u16, rest: &str) -> String {
        format!(
            "<server><id>{id}</id><host>h</host><http-port>80</http-port><socket-port>6666</socket-port>{rest}</server>"
        )
    }

    fn check(text: &str, line: u32, words: &[&str]) {
        let error = Cluster::parse("c.xml", text).expect_err(text);
        let said = error.to_string();
        assert_eq!(error.line, line, "{said}");
        assert!(said.starts_with(&format!("c.xml:{line}: ")), "{said}");
        for word in words {
            assert!(said.contains(word), "{said} doesn't say {word}");
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let text = xml("", &[&server(3, "<partitions>0,1 , 2</partitions>"), &server(9, "<partitions/>")]);
        let cluster = Cluster::parse("c.xml", &text).expect("valid");
        let first = &cluster.servers()[0];
        assert_eq!((first.admin_port, first.rest_port, first.zone), (6667, None, ZoneId(0)));
        assert_eq!(first.partitions, [0, 1, 2]);
        assert_eq!(cluster.ring().nodes(), [NodeId(3), NodeId(9)], "ids have gaps, and one owns nothing");
        assert_eq!(cluster.ring().zones(), [Zone::new(ZoneId(0), [])]);
    }

    #[test]
    fn everything_that_is_given_is_taken() {
        let zones = "<zone><zone-id>0</zone-id><proximity-list>0, 1, 1</proximity-list></zone>
            <zone><zone-id>1</zone-id><proximity-list>0</proximity-list></zone>";
        let ports = "<admin-port>-1</admin-port><rest-port>8085</rest-port>";
        let text =
            xml(zones, &[&server(0, &format!("{ports}<partitions>0</partitions><zone-id>1</zone-id>"))]);
        let cluster = Cluster::parse("c.xml", &text).expect("valid");
        assert_eq!(cluster.ring().zones()[0].proximity(), [ZoneId(1)]);
        let server = &cluster.servers()[0];
        assert_eq!((server.admin_port, server.rest_port, server.zone), (6667, Some(8085), ZoneId(1)));
        assert_eq!(cluster.name(), "c");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = server(0, "<partitions>0</partitions>");
        check("<cluster>", 1, &["well-formed"]);
        check("<stores/>", 1, &["stores", "<cluster>"]);
        check("<!DOCTYPE cluster [<!ENTITY a \"b\">]><cluster/>", 1, &["DTD"]);
        check("<cluster/>", 1, &["<name>"]);
        check("<cluster><name>x</name></cluster>", 1, &["no server"]);
        check(&xml("stray", &[&good]), 1, &["stray"]);
        check(&xml("", &[&server(1, "<partitions>0</partitions>"), "<zone/>"]), 5, &["zone", "order"]);
        check(&xml("", &[&server(1, "")]), 4, &["lacks <partitions>"]);
        check(&xml("", &[&server(1, "<partitions>0, x</partitions>")]), 4, &["\"x\"", "numbers"]);
        check(&xml("", &[&server(40_000, "<partitions>0</partitions>")]), 4, &["40000", "32767"]);
        check(&xml("", &[&server(0, "<zone-id>0</zone-id><partitions>0</partitions>")]), 4, &["order"]);
        check(&xml("", &[&server(0, "<partitions>0</partitions><rack>4</rack>")]), 4, &["rack"]);
        check(
            &xml("", &[&good, &server(1, "<partitions>0</partitions>")]),
            5,
            &["partition 0", "one of them"],
        );
        check(&xml("", &[&good, &server(0, "<partitions>1</partitions>")]), 5, &["node 0", "twice"]);
        check(
            &xml("", &[&good, &server(1, "<partitions>2</partitions>")]),
            5,
            &["partition 1", "without a gap"],
        );
        check(&xml("", &[&server(0, "<partitions/>")]), 1, &["at least one node and one partition"]);
        check(&xml("", &[&server(0, "<partitions>0</partitions><zone-id>4</zone-id>")]), 4, &["zone 4"]);
        let zone = "<zone><zone-id>0</zone-id><proximity-list>7</proximity-list></zone>";
        check(&xml(zone, &[&good]), 3, &["zone 7"]);
    }
}

//! `stores.xml`: [`Stores`].

use super::store::{StoreDefinition, ViewDefinition};
use super::xml::{Element, MetadataError, document};

/// What a `stores.xml` says, or one file of `config/STORES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stores {
    /// The stores, in the order of the file.
    pub stores: Vec<StoreDefinition>,
    /// The views.
    pub views: Vec<ViewDefinition>,
    /// What was passed over, as the original does.
    pub notices: Vec<Notice>,
}

/// Something that a reader should know and that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The line, from 1.
    pub line: u32,
    /// What it is.
    pub what: String,
}

impl Stores {
    /// Reads the text of a `stores.xml`, or of a file that holds a single store; `file` is its name, for errors.
    ///
    /// # Errors
    /// It isn't well-formed, or says what the original would refuse.
    pub fn parse(file: &str, text: &str) -> Result<Self, MetadataError> {
        let document = document(file, text)?;
        let mut notices = Vec::new();
        // In config/STORES each store has a file of its own, whose root is the store.
        if let Ok(root) = Element::root(file, &document, "store") {
            let stores = vec![StoreDefinition::read(root, &mut notices)?];
            return Ok(Self { stores, views: Vec::new(), notices });
        }
        let root = Element::root(file, &document, "stores")?;
        let elements = root.elements()?;
        let (mut stores, mut views) = (Vec::new(), Vec::new());
        let mut names: Vec<String> = Vec::new();
        let mut named = |name: &String, element: &Element<'_>| {
            if names.contains(name) {
                return Err(element.error("two stores or views of one name", name, "give each its own name"));
            }
            names.push(name.clone());
            Ok(())
        };
        for element in elements.iter().filter(|element| element.name() != "view") {
            if element.name() != "store" {
                let way_out = "it has <store> and <view>";
                return Err(element.error("<stores> knows no such element", element.name(), way_out));
            }
            let store = StoreDefinition::read(*element, &mut notices)?;
            named(&store.name, element)?;
            stores.push(store);
        }
        // A view may stand before the store that it shows.
        for element in elements.iter().filter(|element| element.name() == "view") {
            let view = ViewDefinition::read(*element, &stores)?;
            named(&view.name, element)?;
            views.push(view);
        }
        if stores.is_empty() {
            return Err(root.error("there is no store", "", "add a <store>"));
        }
        Ok(Self { stores, views, notices })
    }

    /// The store of a name.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<&StoreDefinition> {
        self.stores.iter().find(|store| store.name == name)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

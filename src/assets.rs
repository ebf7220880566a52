//! What the binary brings along: the default configuration, schemas, stylesheets, and the sample
//! documents and processors of the demo, which `init` and `demo` write out; and the schemas that
//! everyone's schemas import, see `assets/schemas/NOTICE.md`; and the sheet and the script of the page.

/// A file: its name and its content.
pub(crate) type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($dir:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../", $dir, "/", $name)).as_slice())),*]
    };
}

pub(crate) const CONFIG: &str = include_str!("../examples/spoolgate.toml");

pub(crate) const SCHEMAS: &[File] = files!("spool/schemas":
    "items_in.xsd", "joblog.xsd", "orders_in.xsd", "orders_out.xsd", "persons_in.xsd",
    "persons_out.xsd",
);

pub(crate) const STYLESHEETS: &[File] = files!("spool/xslt": "order-csv.xsl", "order-html.xsl");

/// Valid documents, by interface, for the demo.
pub(crate) const DOCUMENTS: &[File] = files!("examples/documents":
    "items_in/assortment.valid.xml", "orders_in/day.valid.xml", "orders_in/latin-1.valid.xml",
    "orders_in/states.valid.xml", "orders_in/utf-16.valid.xml", "persons_in/persons.valid.xml",
);

pub(crate) const ORDERS_OUT: File = (
    "orders.valid.xml",
    include_bytes!("../examples/documents/orders_out/orders.valid.xml"),
);

/// A document with one mistake, for the demo.
pub(crate) const INVALID: File = (
    "position-twice.invalid.xml",
    include_bytes!("../examples/documents/orders_in/position-twice.invalid.xml"),
);

pub(crate) const PROCESSORS: &[File] = files!("examples/processors":
    "count-lines.sh", "export-order.sh", "export-order.xsl", "import-orders.py",
);

/// Of the attributes of XML itself, such as `xml:lang`.
pub(crate) const XML_XSD: &[u8] = include_bytes!("assets/schemas/xml.xsd");

/// Of the attributes of links.
pub(crate) const XLINK_XSD: &[u8] = include_bytes!("assets/schemas/xlink.xsd");

/// Of XML signatures.
pub(crate) const XMLDSIG_XSD: &[u8] = include_bytes!("assets/schemas/xmldsig-core-schema.xsd");

/// The sheet and the script of the page.
pub(crate) const UI_STYLE: &str = include_str!("assets/ui/style.css");
pub(crate) const UI_SCRIPT: &str = include_str!("assets/ui/live.js");

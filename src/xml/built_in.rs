//! The schemas that come with the binary, for namespaces that others import everywhere.

use crate::assets;

use super::location;
use super::names::{XML_NAMESPACE, XSI_NAMESPACE};
use super::schema_part::XSD_NAMESPACE;

pub(super) struct BuiltIn {
    pub(super) bytes: &'static [u8],
    pub(super) namespace: &'static str,
    /// The first is that of the edition that comes with the binary.
    pub(super) urls: &'static [&'static str],
}

impl BuiltIn {
    /// Where the operator's own copy would lie, inside the directory of schemas.
    pub(super) fn path(&self) -> String {
        location::mirror(self.urls[0]).unwrap_or_default()
    }

    pub(super) fn is_at(&self, url: &str) -> bool {
        let url = location::comparable(url);
        self.urls.iter().any(|known| *known == url)
    }
}

pub(super) static ALL: [BuiltIn; 3] = [
    BuiltIn {
        bytes: assets::XML_XSD,
        namespace: XML_NAMESPACE,
        urls: &[
            "http://www.w3.org/2001/xml.xsd",
            "http://www.w3.org/2009/01/xml.xsd",
        ],
    },
    BuiltIn {
        bytes: assets::XLINK_XSD,
        namespace: "http://www.w3.org/1999/xlink",
        urls: &[
            "http://www.w3.org/1999/xlink.xsd",
            "http://www.w3.org/XML/2008/06/xlink.xsd",
        ],
    },
    BuiltIn {
        bytes: assets::XMLDSIG_XSD,
        namespace: "http://www.w3.org/2000/09/xmldsig#",
        urls: &[
            "http://www.w3.org/TR/xmldsig-core/xmldsig-core-schema.xsd",
            "http://www.w3.org/TR/2002/REC-xmldsig-core-20020212/xmldsig-core-schema.xsd",
            "http://www.w3.org/TR/2008/REC-xmldsig-core-20080610/xmldsig-core-schema.xsd",
        ],
    },
];

/// Has every schema the components of this namespace without a file (XSD 1.0 Part 1, 3.2.7 and
/// 3.14.7)?
pub(super) fn is_in_every_schema(namespace: &str) -> bool {
    matches!(namespace, XSD_NAMESPACE | XSI_NAMESPACE)
}

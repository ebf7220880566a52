//! Identity constraints and their paths (Part 1, 3.11).

use xsd_schema::IdentityConstraintKey;
use xsd_schema::namespace::context::NamespaceContextSnapshot;
use xsd_schema::parser::frames::IdentityKind;

use super::super::identity::{Constraint, ConstraintKind, Path, Test};
use super::super::names::Namespace;
use super::{Compiler, Id, Reason, TOO_MANY_NAMES};

impl Compiler<'_> {
    pub(super) fn constraint(
        &mut self,
        key: IdentityConstraintKey,
    ) -> Result<Id<Constraint>, Reason> {
        if let Some(id) = self.constraints.get(&key) {
            return Ok(*id);
        }
        let data = &self.set.arenas.identity_constraints[key];
        let kind = match (data.kind, &data.refer) {
            (IdentityKind::Key, _) => ConstraintKind::Key,
            (IdentityKind::Unique, _) => ConstraintKind::Unique,
            (IdentityKind::Keyref, Some(refer)) => {
                let table = self.set.namespaces.get(&refer.namespace);
                let target =
                    table.and_then(|table| table.identity_constraints.get(&refer.local_name));
                let target = *target.ok_or("a reference to no key")?;
                let kind = self.set.arenas.identity_constraints[target].kind;
                if kind == IdentityKind::Keyref {
                    return Err("a reference to no key");
                }
                let target = self.constraint(target)?;
                self.tables.constraints[target].is_referred_to = true;
                ConstraintKind::Reference(target)
            }
            (IdentityKind::Keyref, None) => return Err("a reference to no key"),
        };
        let selector = self.paths(&data.selector.xpath, &data.selector.ns_snapshot)?;
        let mut fields = Vec::new();
        for field in &data.fields {
            fields.push(self.paths(&field.xpath, &field.ns_snapshot)?);
        }
        let id = self.tables.constraints.add(Constraint {
            name: self.text(data.name).into(),
            kind,
            selector,
            fields: fields.into(),
            is_referred_to: false,
        });
        self.constraints.insert(key, id);
        Ok(id)
    }

    /// The paths of a selector or field (3.11.6), whose syntax was checked when the schema was read.
    fn paths(
        &mut self,
        xpath: &str,
        scope: &NamespaceContextSnapshot,
    ) -> Result<Box<[Path]>, Reason> {
        let mut paths = Vec::new();
        for text in xpath.split('|') {
            let text: String = text.split_whitespace().collect();
            let text = text.replace("child::", "").replace("attribute::", "@");
            let (is_anywhere, text) = match text.strip_prefix(".//") {
                Some(rest) => (true, rest),
                None => (false, text.as_str()),
            };
            let mut steps = Vec::new();
            let mut attribute = None;
            for step in text.split('/').filter(|step| *step != ".") {
                match step.strip_prefix('@') {
                    _ if attribute.is_some() => return Err("a step behind an attribute"),
                    Some(name) => attribute = Some(self.test(name, scope)?),
                    None => steps.push(self.test(step, scope)?),
                }
            }
            if steps.len() > Path::STEPS_MAX {
                return Err("a path of too many steps");
            }
            paths.push(Path {
                is_anywhere,
                steps: steps.into(),
                attribute,
            });
        }
        Ok(paths.into())
    }

    fn test(&mut self, name: &str, scope: &NamespaceContextSnapshot) -> Result<Test, Reason> {
        let (namespace, local) = match name.split_once(':') {
            Some((prefix, local)) => {
                let prefix = self.set.name_table.get(prefix);
                let uri = prefix.and_then(|prefix| scope.resolve_prefix(prefix));
                let uri = uri.ok_or("a path with an unknown prefix")?;
                (Some(self.namespace(Some(uri))), local)
            }
            None => (None, name),
        };
        match (namespace, local) {
            (_, "") => Err("a path with an empty step"),
            (None, "*") => Ok(Test::Any),
            (Some(namespace), "*") => Ok(Test::InNamespace(namespace)),
            (namespace, local) => {
                let namespace = namespace.unwrap_or(Namespace::ABSENT);
                let symbol = self.names.symbol(namespace, local);
                symbol.map(Test::Named).ok_or(TOO_MANY_NAMES)
            }
        }
    }
}

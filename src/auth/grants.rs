//! Rights and roles, and the caller that carries them.
//!
//! A right is held for one interface or, written `*`, for every one; both add up. The operator
//! role implies every right. The curator role implies none: it is a mark that a dialect may ask
//! for. Pure: no files, no clock. What is not granted is denied.

use crate::domain::{InterfaceName, NameError};
use crate::util::nearest;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// What a user may do with the jobs of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    Download,
    List,
    Manage,
    Upload,
}

impl Right {
    pub const ALL: [Right; 4] = [Right::Download, Right::List, Right::Manage, Right::Upload];

    pub fn as_str(self) -> &'static str {
        match self {
            Right::Download => "download",
            Right::List => "list",
            Right::Manage => "manage",
            Right::Upload => "upload",
        }
    }
}

/// What a user is, whatever the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Curator,
    Operator,
}

impl Role {
    pub const ALL: [Role; 2] = [Role::Curator, Role::Operator];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Curator => "curator",
            Role::Operator => "operator",
        }
    }
}

/// One user: the stored hash of its password, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub password: Arc<str>,
    pub grants: Arc<Grants>,
}

/// A word that is neither a right nor a role; the message names the nearest one that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {kind}{}", hint(word, known))]
pub struct UnknownWord {
    pub kind: &'static str,
    pub word: String,
    pub known: Vec<&'static str>,
}

/// ` (did you mean …?)`, or the list of what there is when nothing comes near.
pub(super) fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None => format!(" (known: {})", known.join(", ")),
    }
}

fn unknown(kind: &'static str, word: &str, known: Vec<&'static str>) -> UnknownWord {
    UnknownWord {
        kind,
        word: word.escape_debug().to_string(),
        known,
    }
}

impl FromStr for Right {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let found = Right::ALL.into_iter().find(|right| right.as_str() == word);
        found.ok_or_else(|| unknown("right", word, Right::ALL.map(Right::as_str).to_vec()))
    }
}

impl FromStr for Role {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == word);
        found.ok_or_else(|| unknown("role", word, Role::ALL.map(Role::as_str).to_vec()))
    }
}

/// Where a right holds: one interface, or every one (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Every,
    Interface(InterfaceName),
}

impl FromStr for Scope {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "*" => Ok(Scope::Every),
            name => name.parse().map(Scope::Interface),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Every => f.write_str("*"),
            Scope::Interface(name) => name.fmt(f),
        }
    }
}

/// Everything that a user has been granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    roles: BTreeSet<Role>,
    rights: BTreeMap<Scope, BTreeSet<Right>>,
}

impl Grants {
    pub fn add_role(&mut self, role: Role) {
        self.roles.insert(role);
    }

    /// Makes `rights` the rights at `scope`, in place of those held there before; an empty set
    /// takes them all away.
    pub fn set_rights(&mut self, scope: Scope, rights: BTreeSet<Right>) {
        if rights.is_empty() {
            self.rights.remove(&scope);
        } else {
            self.rights.insert(scope, rights);
        }
    }

    /// Adds what another has been granted.
    pub fn add(&mut self, more: &Self) {
        self.roles.extend(&more.roles);
        for (scope, rights) in &more.rights {
            self.rights.entry(scope.clone()).or_default().extend(rights);
        }
    }

    /// Takes away what another has been granted.
    ///
    /// # Errors
    /// The first of it that is not held itself: a right on every interface (`*`) is not one on this one. Then nothing is
    /// taken.
    pub fn take(&mut self, less: &Self) -> Result<(), String> {
        if let Some(role) = less.roles.difference(&self.roles).next() {
            return Err(format!("the role {}", role.as_str()));
        }
        let mut rights = self.rights.clone();
        for (scope, taken) in &less.rights {
            let held = rights.entry(scope.clone()).or_default();
            if let Some(right) = taken.difference(held).next() {
                return Err(format!("the right {scope}={}", right.as_str()));
            }
            held.retain(|right| !taken.contains(right));
        }
        rights.retain(|_, held| !held.is_empty());
        self.rights = rights;
        self.roles.retain(|role| !less.roles.contains(role));
        Ok(())
    }

    pub fn set_roles(&mut self, roles: BTreeSet<Role>) {
        self.roles = roles;
    }

    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.rights.is_empty()
    }

    pub fn roles(&self) -> &BTreeSet<Role> {
        &self.roles
    }

    pub fn rights(&self) -> &BTreeMap<Scope, BTreeSet<Right>> {
        &self.rights
    }

    fn may(&self, right: Right, interface: &InterfaceName) -> bool {
        // A linear walk: a user has a handful of scopes, and no name is copied for the question.
        self.roles.contains(&Role::Operator)
            || self.rights.iter().any(|(scope, rights)| {
                let covers = match scope {
                    Scope::Every => true,
                    Scope::Interface(name) => name == interface,
                };
                covers && rights.contains(&right)
            })
    }
}

/// What users have been granted, once for all who have been granted the same: of very many users, most have.
#[derive(Default)]
pub(super) struct SharedGrants(HashSet<Arc<Grants>>);

impl SharedGrants {
    /// The same, in one place with what is equal to it.
    pub(super) fn share(&mut self, grants: Arc<Grants>) -> Arc<Grants> {
        if let Some(known) = self.0.get(&grants) {
            return known.clone();
        }
        self.0.insert(grants.clone());
        grants
    }

    /// Forgets what nobody has any more.
    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|grants| Arc::strong_count(grants) > 1);
    }
}

/// An authenticated user with its rights at the moment of the request, or no one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Empty: no one. No user has that name.
    pub user: Arc<str>,
    grants: Arc<Grants>,
    /// What the caller's token is limited to; `None`: there is no such limit.
    scopes: Option<Arc<[String]>>,
    proof: Option<Proof>,
    /// `None`: not by a request.
    pub via: Option<Via>,
}

/// The way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// By its name in logs.
    pub dialect: &'static str,
    /// Of the client, as far as proxies that are believed say it.
    pub address: IpAddr,
}

/// The stored hash that a caller's password was met by.
#[derive(Clone)]
pub(super) struct Proof(pub(super) Arc<str>);

/// Without the hash.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

impl Caller {
    pub fn new(user: impl Into<Arc<str>>, grants: impl Into<Arc<Grants>>) -> Self {
        Self {
            user: user.into(),
            grants: grants.into(),
            scopes: None,
            proof: None,
            via: None,
        }
    }

    /// The same for one of its requests.
    #[must_use]
    pub fn via(self, dialect: &'static str, address: IpAddr) -> Self {
        let via = Some(Via { dialect, address });
        Self { via, ..self }
    }

    /// No one: without rights, and no job is its own.
    pub fn anonymous() -> Self {
        Self::new("", Grants::default())
    }

    /// The same without a role, and without what comes with it.
    #[must_use]
    pub fn without(self, role: Role) -> Self {
        let mut grants = Grants::clone(&self.grants);
        grants.roles.remove(&role);
        Self {
            grants: grants.into(),
            ..self
        }
    }

    /// A caller with every right.
    #[cfg(test)]
    pub fn operator(name: &str) -> Self {
        let mut grants = Grants::default();
        grants.add_role(Role::Operator);
        Self::new(name, grants)
    }

    /// The same, limited to the scopes of a token; a token without any is not limited.
    pub(super) fn limited_to(self, scopes: Vec<String>) -> Self {
        let scopes = (!scopes.is_empty()).then(|| scopes.into());
        Self { scopes, ..self }
    }

    pub(super) fn proven_by(self, stored: Arc<str>) -> Self {
        let proof = Some(Proof(stored));
        Self { proof, ..self }
    }

    pub(super) fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }

    pub fn is_anonymous(&self) -> bool {
        self.user.is_empty()
    }

    /// Is this the user of that name? No one is no one, also where no name was written down.
    pub fn is(&self, user: &str) -> bool {
        !self.is_anonymous() && *self.user == *user
    }

    /// Has the caller's token this scope? Rights decide besides.
    pub fn has_scope(&self, scope: &str) -> bool {
        let mut scopes = self.scopes.iter().flat_map(|scopes| scopes.iter());
        scopes.any(|held| held == scope)
    }

    /// Is the caller's token limited to some scopes?
    pub fn is_limited(&self) -> bool {
        self.scopes.is_some()
    }

    pub fn may(&self, right: Right, interface: &InterfaceName) -> bool {
        self.grants.may(right, interface)
    }

    /// Whether the interface exists at all for this user.
    pub fn may_any(&self, interface: &InterfaceName) -> bool {
        Right::ALL.into_iter().any(|r| self.may(r, interface))
    }

    pub fn has(&self, role: Role) -> bool {
        self.grants.roles.contains(&role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> InterfaceName {
        name.parse().unwrap()
    }

    fn shop_with(rights: &[(&str, &[Right])]) -> Caller {
        let mut grants = Grants::default();
        for (scope, held) in rights {
            grants.set_rights(scope.parse().unwrap(), held.iter().copied().collect());
        }
        Caller::new("shop1", grants)
    }

    #[test]
    fn rights_hold_for_their_interface_alone() {
        let caller = shop_with(&[("orders_in", &[Right::Upload, Right::List])]);
        assert!(caller.may(Right::Upload, &interface("orders_in")));
        assert!(!caller.may(Right::Manage, &interface("orders_in")));
        assert!(!caller.may(Right::Upload, &interface("orders_out")));
        assert!(caller.may_any(&interface("orders_in")));
        assert!(!caller.may_any(&interface("orders_out")));
    }

    #[test]
    fn a_star_covers_every_interface_and_adds_to_the_others() {
        let caller = shop_with(&[("*", &[Right::List]), ("a", &[Right::Download])]);
        assert!(caller.may(Right::List, &interface("a")));
        assert!(caller.may(Right::Download, &interface("a")));
        assert!(caller.may(Right::List, &interface("b")));
        assert!(!caller.may(Right::Download, &interface("b")));
    }

    #[test]
    fn roles_are_not_rights_except_the_operators() {
        let operator = Caller::operator("root");
        let mut grants = Grants::default();
        grants.add_role(Role::Curator);
        let curator = Caller::new("c", grants);
        for right in Right::ALL {
            assert!(operator.may(right, &interface("x")));
            assert!(!curator.may(right, &interface("x")));
        }
        assert!(operator.has(Role::Operator) && !operator.has(Role::Curator));
        let partner = operator.without(Role::Operator);
        assert!(!partner.has(Role::Operator) && !partner.may_any(&interface("x")));
        assert!(curator.has(Role::Curator) && !curator.has(Role::Operator));
    }

    #[test]
    fn nobody_has_no_rights_and_owns_nothing() {
        let nobody = Caller::anonymous();
        assert!(nobody.is_anonymous() && !nobody.may_any(&interface("x")));
        assert!(!nobody.is("") && !nobody.is("shop1"));
        let shop = Caller::new("shop1", Grants::default());
        assert!(shop.is("shop1") && !shop.is("shop2") && !shop.is("") && !shop.is_anonymous());
    }

    #[test]
    fn only_a_token_with_scopes_is_limited() {
        let shop = Caller::new("shop1", Grants::default());
        assert!(!shop.has_scope("a") && !shop.is_limited());
        let unlimited = shop.clone().limited_to(vec![]);
        assert!(!unlimited.has_scope("a") && !unlimited.is_limited());
        let limited = shop.limited_to(vec!["a".into(), "b:c".into()]);
        assert!(limited.is_limited());
        assert!(limited.has_scope("a") && limited.has_scope("b:c"));
        assert!(!limited.has_scope("b") && !limited.has_scope("A") && !limited.has_scope(""));
    }

    #[test]
    fn what_is_equal_is_kept_once_and_no_longer_than_it_is_had() {
        let grants = |right| {
            let mut grants = Grants::default();
            grants.set_rights(Scope::Every, BTreeSet::from([right]));
            Arc::new(grants)
        };
        let mut shared = SharedGrants::default();
        let one = shared.share(grants(Right::List));
        let other = shared.share(grants(Right::List));
        assert!(Arc::ptr_eq(&one, &other));
        let more = shared.share(grants(Right::Upload));
        assert_eq!(shared.0.len(), 2);
        drop((one, other));
        shared.forget_unused();
        assert_eq!(Vec::from_iter(&shared.0), [&more]);
    }

    #[test]
    fn unknown_words_name_the_nearest() {
        let message = "uplaod".parse::<Right>().unwrap_err().to_string();
        assert_eq!(message, "`uplaod` is not a right (did you mean `upload`?)");
        let message = "xyzzy".parse::<Role>().unwrap_err().to_string();
        assert_eq!(message, "`xyzzy` is not a role (known: curator, operator)");
    }
}

//! Capability sets: their names, docker's arithmetic on them, and the five sets of a process (`capabilities(7)`).
//!
//! [`apply`] sets them on the calling thread; the rest is pure.

use crate::error::{Error, ErrorKind, Result};
use oci_spec::runtime::{Capability, LinuxCapabilities};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{BitAnd, BitOr};

pub mod apply;
mod names;

/// A set of capabilities: bit N is the capability with number N (`linux/capability.h`).
///
/// In JSON a list of names, ordered by number: `["CAP_CHOWN", "CAP_KILL"]`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << names::NAMES.len()) - 1);

    /// The set of these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit N is the capability with number N.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether no capability is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in it but not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The capabilities in it, one by one, by number.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        (0..u64::BITS).map(|number| Self(1 << number)).filter(move |one| self.contains(*one))
    }

    /// The names in it, `CAP_CHOWN` first. Capabilities too new to have a name here are left out.
    pub fn names(self) -> Vec<String> {
        self.iter().filter_map(Self::name).map(|name| format!("CAP_{name}")).collect()
    }

    /// The name of a set's lowest capability, without `CAP_`.
    fn name(self) -> Option<&'static str> {
        names::NAMES.get(self.0.trailing_zeros() as usize).copied()
    }

    /// The set in the form of the OCI runtime specification.
    pub fn to_oci(self) -> oci_spec::runtime::Capabilities {
        // oci-spec names its variants as the kernel does, without CAP_.
        self.iter().filter_map(Self::name).filter_map(|name| name.parse::<Capability>().ok()).collect()
    }

    /// The set from its form in the OCI runtime specification.
    pub fn from_oci(capabilities: &oci_spec::runtime::Capabilities) -> Self {
        capabilities.iter().filter_map(|one| names::bit(&one.to_string())).fold(Self::EMPTY, |set, bit| set | Self(bit))
    }
}

impl BitOr for CapSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for CapSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<CapSet> for CapSet {
    fn from_iter<I: IntoIterator<Item = CapSet>>(sets: I) -> Self {
        sets.into_iter().fold(Self::EMPTY, |all, one| all | one)
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} ({})", self.0, self.names().join(" "))
    }
}

impl Serialize for CapSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for CapSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        parse_all(&names).map_err(serde::de::Error::custom)
    }
}

/// The capability with this name, in docker's spellings: `CHOWN`, `cap_chown`, or `ALL`.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming what is not a capability.
pub fn parse(name: &str) -> Result<CapSet> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(CapSet::ALL);
    }
    names::bit(upper.strip_prefix("CAP_").unwrap_or(&upper)).map(CapSet).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("unknown capability {name:?}")).hint("capabilities(7) lists them")
    })
}

fn parse_all(names: &[String]) -> Result<CapSet> {
    names.iter().map(|name| parse(name)).collect()
}

/// What a container gets unless told otherwise: podman's 11, the smaller of docker's and podman's sets.
pub fn default_set() -> CapSet {
    names::DEFAULT.iter().filter_map(|name| names::bit(name)).map(CapSet).collect()
}

/// The default set changed by `--cap-add` and `--cap-drop`, as docker does it: adding `ALL` gives everything but what
/// is dropped by name, dropping `ALL` leaves what is added by name, and otherwise what is added beats what is dropped.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming what is not a capability.
pub fn with_changes(add: &[String], drop: &[String]) -> Result<CapSet> {
    let (added, dropped) = (Named::parse(add)?, Named::parse(drop)?);
    Ok(if added.all {
        CapSet::ALL.without(dropped.set)
    } else if dropped.all {
        added.set
    } else {
        default_set().without(dropped.set) | added.set
    })
}

/// A list of names in which `ALL` stands apart from what is named.
struct Named {
    all: bool,
    set: CapSet,
}

impl Named {
    fn parse(names: &[String]) -> Result<Self> {
        let (all, named): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| is_all(name));
        let set = named.into_iter().map(|name| parse(name)).collect::<Result<_>>()?;
        Ok(Self { all: !all.is_empty(), set })
    }
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL")
}

/// The five capability sets of a process in a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapPlan {
    /// What no program it executes can exceed.
    pub bounding: CapSet,
    /// What it can make effective.
    pub permitted: CapSet,
    /// What it can do.
    pub effective: CapSet,
    /// What programs with inheritable file capabilities get; empty but for `ambient`'s sake.
    pub inheritable: CapSet,
    /// What it keeps when it executes a program without file capabilities, although it is not root.
    pub ambient: CapSet,
}

impl CapPlan {
    /// The sets for a process with this user id in the container.
    ///
    /// Root has all of `allowed`. Another user has of it only what was added by name, ambient, so that the entrypoint
    /// keeps it; the bounding set is the same, so that a setuid program in the container works.
    pub fn for_user(uid: u32, allowed: CapSet, added: &[String]) -> Result<Self> {
        if uid == 0 {
            return Ok(Self { bounding: allowed, permitted: allowed, effective: allowed, ..Self::default() });
        }
        let own = parse_all(added)? & allowed;
        Ok(Self { bounding: allowed, permitted: own, effective: own, inheritable: own, ambient: own })
    }

    /// The sets in the form of the OCI runtime specification.
    pub fn to_oci(&self) -> LinuxCapabilities {
        let mut oci = LinuxCapabilities::default();
        oci.set_bounding(Some(self.bounding.to_oci()))
            .set_permitted(Some(self.permitted.to_oci()))
            .set_effective(Some(self.effective.to_oci()))
            .set_inheritable(Some(self.inheritable.to_oci()))
            .set_ambient(Some(self.ambient.to_oci()));
        oci
    }

    /// The sets from their form in the OCI runtime specification; a missing set is empty.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the kernel could not set them: effective beyond permitted, or ambient beyond
    /// permitted or inheritable.
    pub fn from_oci(oci: &LinuxCapabilities) -> Result<Self> {
        let set =
            |names: &Option<oci_spec::runtime::Capabilities>| names.as_ref().map(CapSet::from_oci).unwrap_or_default();
        let plan = Self {
            bounding: set(oci.bounding()),
            permitted: set(oci.permitted()),
            effective: set(oci.effective()),
            inheritable: set(oci.inheritable()),
            ambient: set(oci.ambient()),
        };
        subset("effective", plan.effective, "permitted", plan.permitted)?;
        subset("ambient", plan.ambient, "permitted", plan.permitted)?;
        subset("ambient", plan.ambient, "inheritable", plan.inheritable)?;
        Ok(plan)
    }
}

fn subset(name: &str, set: CapSet, other_name: &str, other: CapSet) -> Result<()> {
    match set.without(other).names().first() {
        None => Ok(()),
        Some(extra) => {
            Err(Error::new(ErrorKind::Invalid, format!("{extra} is in the {name} set but not in the {other_name} set")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn set(names: &[&str]) -> CapSet {
        parse_all(&strings(names)).unwrap()
    }

    #[test]
    fn names_are_accepted_in_dockers_spellings() {
        for (name, bits) in [("CHOWN", 1), ("cap_chown", 1), ("Cap_Setuid", 0x80), ("CHECKPOINT_RESTORE", 1 << 40)] {
            assert_eq!(parse(name).unwrap().bits(), bits, "{name}");
        }
        assert_eq!(parse("all").unwrap(), CapSet::ALL);
        for name in ["", "CAP_", "FOO", "CAP_CAP_CHOWN", "CHOWN ", "CAP_ALL"] {
            let error = parse(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn the_default_set_is_podmans() {
        assert_eq!(default_set().bits(), 0x8004_05fb);
    }

    #[test]
    fn changes_follow_docker() {
        let kill = set(&["KILL"]);
        let admin = set(&["SYS_ADMIN"]);
        for (add, drop, expected) in [
            (vec![], vec![], default_set()),
            (vec!["SYS_ADMIN"], vec![], default_set() | admin),
            (vec![], vec!["KILL"], default_set().without(kill)),
            (vec!["KILL"], vec!["KILL"], default_set()),
            (vec!["ALL"], vec!["KILL"], CapSet::ALL.without(kill)),
            (vec!["cap_kill"], vec!["all"], kill),
            (vec!["ALL"], vec!["ALL"], CapSet::ALL),
            (vec![], vec!["ALL"], CapSet::EMPTY),
        ] {
            assert_eq!(with_changes(&strings(&add), &strings(&drop)).unwrap(), expected, "+{add:?} -{drop:?}");
        }
        assert!(with_changes(&[], &strings(&["ALL", "NOPE"])).unwrap_err().to_string().contains("NOPE"));
        assert!(with_changes(&strings(&["ALL", "NOPE"]), &[]).unwrap_err().to_string().contains("NOPE"));
    }

    #[test]
    fn only_added_capabilities_reach_other_users() {
        let allowed = with_changes(&strings(&["NET_RAW"]), &[]).unwrap();
        let root = CapPlan::for_user(0, allowed, &strings(&["NET_RAW"])).unwrap();
        assert_eq!((root.bounding, root.permitted, root.effective), (allowed, allowed, allowed));
        assert!(root.inheritable.is_empty() && root.ambient.is_empty());

        let user = CapPlan::for_user(1000, allowed, &strings(&["NET_RAW"])).unwrap();
        let raw = set(&["NET_RAW"]);
        assert_eq!(user.bounding, allowed);
        assert_eq!([user.permitted, user.effective, user.inheritable, user.ambient], [raw; 4]);

        let plain = CapPlan::for_user(1000, default_set(), &[]).unwrap();
        assert_eq!([plain.permitted, plain.effective, plain.ambient], [CapSet::EMPTY; 3]);
    }

    #[test]
    fn sets_survive_the_specification_and_json() {
        for plan in [
            CapPlan::for_user(0, CapSet::ALL, &[]).unwrap(),
            CapPlan::for_user(7, default_set(), &strings(&["ALL"])).unwrap(),
            CapPlan::default(),
        ] {
            assert_eq!(CapPlan::from_oci(&plan.to_oci()).unwrap(), plan);
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<CapPlan>(&json).unwrap(), plan);
        }
        assert_eq!(serde_json::to_string(&set(&["KILL", "CHOWN"])).unwrap(), r#"["CAP_CHOWN","CAP_KILL"]"#);
        assert!(serde_json::from_str::<CapSet>(r#"["CAP_NOPE"]"#).is_err());
    }

    #[test]
    fn impossible_sets_of_a_specification_are_refused() {
        let kill = set(&["KILL"]);
        let mut oci = CapPlan { permitted: kill, effective: kill, ..CapPlan::default() }.to_oci();
        oci.set_ambient(Some(kill.to_oci()));
        let error = CapPlan::from_oci(&oci).unwrap_err();
        assert_eq!(error.to_string(), "CAP_KILL is in the ambient set but not in the inheritable set");
    }
}

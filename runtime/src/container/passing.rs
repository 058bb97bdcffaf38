//! What a container has for one start only: the mounts and secrets of a build step. No record, spec or other file tells of
//! it; it is in the plan, which only the monitor and init have, in memory. Pure.

use crate::sandbox::plan::{Mount, Plan};
use crate::sandbox::reads::Reads;

/// What a container has for one start.
#[derive(Debug, Default)]
pub struct Passing {
    /// Mounts besides those of the Spec; they replace the engine's at the same place.
    pub mounts: Vec<Mount>,
    /// Variables that replace the container's of the same name. May be secrets.
    pub env: Vec<Variable>,
    /// Where it is recorded what the container reads that is not the same each time.
    pub reads: Option<Reads>,
}

/// A variable of the environment.
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, in no message.
    pub value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl Passing {
    /// Adds it to the plan of a start.
    pub(super) fn add_to(&self, plan: &mut Plan) {
        let taken = |target: &str| self.mounts.iter().any(|mount| mount.target == target);
        let below = |target: &str| {
            self.mounts.iter().any(|mount| target.strip_prefix(&mount.target).is_some_and(|rest| rest.starts_with('/')))
        };
        plan.mounts.retain(|mount| mount.user || !taken(&mount.target));
        for mount in plan.mounts.iter_mut().filter(|mount| !mount.user && below(&mount.target)) {
            mount.existing = true;
        }
        plan.mounts.extend(self.mounts.iter().cloned());
        plan.mounts.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
        for Variable { name, value } in &self.env {
            plan.process.env.retain(|entry| entry.split_once('=').is_none_or(|(other, _)| other != name));
            plan.process.env.push(format!("{name}={value}"));
        }
    }
}

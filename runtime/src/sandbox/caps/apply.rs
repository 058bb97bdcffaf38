//! Setting the capability sets of the calling thread. Runs in init and in exec's child, inside the container's user
//! namespace and with all capabilities there.
//!
//! The order, with the changes of user and groups and the system call filter between:
//!
//! 1. [`before_setid`]: the bounding set, and what makes the kernel keep the permitted set over the change of user
//! 2. `setgroups`, `setresgid`, `setresuid`
//! 3. [`regain`]: CAP_SYS_ADMIN is effective again, which loading a filter without `no_new_privs` needs
//! 4. the filter
//! 5. [`after_setid`]: the final sets; from here on nothing is left of the namespace's full set

use super::{CapPlan, CapSet};
use crate::error::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
};

/// Drops everything beyond the plan from the bounding set, also capabilities newer than lrun, and asks the kernel to
/// keep the permitted set when the thread's user changes from root.
///
/// # Errors
/// What prctl(2) reports: EPERM without CAP_SETPCAP.
pub fn before_setid(plan: &CapPlan) -> Result<()> {
    for capability in CapSet::from_bits(u64::MAX).without(plan.bounding).iter() {
        match remove_capability_from_bounding_set(kernel(capability)) {
            Ok(()) => {}
            // The first number that the kernel does not know: all the others are lower.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).context(|| format!("drop {capability:?} from the bounding set")),
        }
    }
    set_keep_capabilities(true).context(|| "keep capabilities over the change of user")
}

/// Makes all permitted capabilities effective again, after the change of user cleared them.
///
/// # Errors
/// What capset(2) reports.
pub fn regain() -> Result<()> {
    let mut sets = capabilities(None).context(|| "read the capabilities")?;
    sets.effective = sets.permitted;
    set_capabilities(None, sets).context(|| "make the permitted capabilities effective")
}

/// Sets the final permitted, effective, inheritable and ambient sets.
///
/// # Errors
/// What capset(2) and prctl(2) report: EPERM when the plan wants what the thread does not have.
pub fn after_setid(plan: &CapPlan) -> Result<()> {
    // What was ambient before is not the plan's.
    clear_ambient_capability_set().context(|| "clear the ambient capabilities")?;
    let sets = CapabilitySets {
        effective: kernel(plan.effective),
        permitted: kernel(plan.permitted),
        inheritable: kernel(plan.inheritable),
    };
    set_capabilities(None, sets).context(|| "set the capabilities")?;
    for capability in plan.ambient.iter() {
        match configure_capability_in_ambient_set(kernel(capability), true) {
            // Newer than the kernel, so capset ignored it as well.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno).context(|| format!("make {capability:?} ambient")),
        }
    }
    set_keep_capabilities(false).context(|| "end keeping capabilities")
}

fn kernel(set: CapSet) -> CapabilitySet {
    CapabilitySet::from_bits_retain(set.bits())
}

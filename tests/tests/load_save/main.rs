//! `load` and `save`: every layout by hand, hostile ones too, round trips through lrun and through other programs.

mod hostile;
mod layouts;
mod made;
mod others;
mod programs;
mod round_trip;
mod stacks;

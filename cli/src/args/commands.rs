//! The tree of commands.

use clap::{Args, Subcommand};

use super::{
    AttachArgs, BuildArgs, BuilderCreateArgs, BuilderDuArgs, BuilderLsArgs, BuilderNameArgs, BuilderPruneArgs,
    BuildxVersionArgs, CheckArgs, CommitArgs, ContainerPruneArgs, CpArgs, CreateArgs, DfArgs, DiffArgs, ExecArgs,
    ExistsArgs, ExportArgs, HistoryArgs, ImagePruneArgs, ImagesArgs, ImportArgs, InspectArgs, InspectType, KillArgs,
    ListAnnotateArgs, ListCreateArgs, ListPushArgs, ListRemoveArgs, LoadArgs, LoginArgs, LogoutArgs, LogsArgs,
    ManifestArgs, PauseArgs, PortArgs, PsArgs, PullArgs, PushArgs, ReferrersArgs, RenameArgs, RmArgs, RmiArgs, RunArgs,
    SaveArgs, SearchArgs, StartArgs, StopArgs, SystemArgs, SystemPruneArgs, TagArgs, TopArgs, TreeArgs, UndeleteArgs,
    UntagArgs, WaitArgs,
};

/// Every command. [`super::parse`] never returns `Builder`, `Container`, `Image`, `Manifest` or `System`: their commands come out as
/// the short ones, or as those that have no short form.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a container from an image and run a command in it
    Run(Box<RunArgs>),
    /// Create a container without starting it
    Create(Box<CreateArgs>),
    /// Start containers that are not running
    Start(StartArgs),
    /// Stop running containers, by force after a time
    Stop(StopArgs),
    /// Stop containers and start them again
    Restart(StopArgs),
    /// Send a signal to running containers
    Kill(KillArgs),
    /// Let the processes of containers stand still
    Pause(PauseArgs),
    /// Let the processes of paused containers go on
    Unpause(PauseArgs),
    /// Show where the ports of a container are reached
    Port(PortArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Bring removed containers back
    Undelete(UndeleteArgs),
    /// Wait until containers end, then print their exit codes
    Wait(WaitArgs),
    /// Connect the terminal to a running container
    Attach(AttachArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Print what a container wrote
    Logs(LogsArgs),
    /// List containers
    #[command(alias = "ls")]
    Ps(PsArgs),
    /// Rename a container
    Rename(RenameArgs),
    /// Print everything known about containers and images, as JSON
    Inspect(InspectArgs),
    /// List the processes of a container
    #[command(override_usage = "lrun top CONTAINER [ps OPTIONS]")]
    Top(TopArgs),
    /// Make an image of a container's changes
    Commit(CommitArgs),
    /// Make an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Get an image from a registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Keep a user and password for a registry
    Login(LoginArgs),
    /// Forget the user and password for a registry
    Logout(LogoutArgs),
    /// Look for images in a registry
    Search(SearchArgs),
    /// List images
    Images(ImagesArgs),
    /// Show how an image came to be
    History(HistoryArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Take names from an image, which stays
    Untag(UntagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// List what a container changed: A added, C changed, D deleted
    Diff(DiffArgs),
    /// Write a container's files as a tar archive
    Export(ExportArgs),
    /// Make an image of a tar archive
    Import(ImportArgs),
    /// Copy files between a container and the host
    #[command(
        override_usage = "lrun cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       lrun cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"
    )]
    Cp(CpArgs),
    /// Load images from an archive or a directory
    Load(LoadArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Show what lrun found on this machine
    Info(SystemArgs),
    /// Show the version of lrun and of what it uses
    Version(SystemArgs),
    /// Commands about containers
    Container(ContainerArgs),
    /// Commands about images
    Image(ImageArgs),
    /// Commands about building images
    #[command(alias = "buildx")]
    Builder(BuilderArgs),
    /// Commands about manifests: what registries know of an image
    Manifest(ManifestGroupArgs),
    /// Commands about the store: what it takes on disk, and its care
    System(SystemGroupArgs),
    /// `builder create`
    #[command(skip)]
    BuilderCreate(BuilderCreateArgs),
    /// `builder du`
    #[command(skip)]
    BuilderDu(BuilderDuArgs),
    /// `builder inspect`
    #[command(skip)]
    BuilderInspect(BuilderNameArgs),
    /// `builder ls`
    #[command(skip)]
    BuilderLs(BuilderLsArgs),
    /// `builder prune`
    #[command(skip)]
    BuilderPrune(BuilderPruneArgs),
    /// `builder rm`
    #[command(skip)]
    BuilderRm(BuilderNameArgs),
    /// `builder use`
    #[command(skip)]
    BuilderUse(BuilderNameArgs),
    /// `builder version`
    #[command(skip)]
    BuildxVersion(BuildxVersionArgs),
    /// `container exists`
    #[command(skip)]
    ContainerExists(ExistsArgs),
    /// `container prune`
    #[command(skip)]
    ContainerPrune(ContainerPruneArgs),
    /// `image exists`
    #[command(skip)]
    ImageExists(ExistsArgs),
    /// `image prune`
    #[command(skip)]
    ImagePrune(ImagePruneArgs),
    /// `image tree`
    #[command(skip)]
    ImageTree(TreeArgs),
    /// `manifest annotate`
    #[command(skip)]
    ListAnnotate(ListAnnotateArgs),
    /// `manifest create`
    #[command(skip)]
    ListCreate(ListCreateArgs),
    /// `manifest inspect`
    #[command(skip)]
    ManifestInspect(ManifestArgs),
    /// `manifest push`
    #[command(skip)]
    ListPush(ListPushArgs),
    /// `manifest rm`
    #[command(skip)]
    ListRemove(ListRemoveArgs),
    /// `manifest referrers`
    #[command(skip)]
    Referrers(ReferrersArgs),
    /// `system check`
    #[command(skip)]
    Check(CheckArgs),
    /// `system df`
    #[command(skip)]
    Df(DfArgs),
    /// `system prune`
    #[command(skip)]
    SystemPrune(SystemPruneArgs),
}

/// `lrun container …`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ContainerArgs {
    #[command(subcommand)]
    command: ContainerCommand,
}

/// `lrun image …`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

/// `lrun manifest …`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ManifestGroupArgs {
    #[command(subcommand)]
    command: ManifestCommand,
}

/// The commands of `lrun manifest`.
#[derive(Debug, Subcommand)]
enum ManifestCommand {
    /// Say what an image of a list is made for
    Annotate(ListAnnotateArgs),
    /// Make a list of images for several platforms, to be pushed
    Create(ListCreateArgs),
    /// Print an image's manifest, or a list of them, as JSON
    Inspect(ManifestArgs),
    /// Push a list
    Push(ListPushArgs),
    /// Remove lists from here
    Rm(ListRemoveArgs),
    /// List what a registry has about an image, such as signatures
    Referrers(ReferrersArgs),
}

/// `lrun builder …`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct BuilderArgs {
    #[command(subcommand)]
    command: BuilderCommand,
}

/// The commands of `lrun builder`.
#[derive(Debug, Subcommand)]
enum BuilderCommand {
    /// Make an image from a Dockerfile
    #[command(alias = "b")]
    Build(Box<BuildArgs>),
    /// Make a builder; lrun has the one it needs
    #[command(hide = true)]
    Create(BuilderCreateArgs),
    /// Show what builds left
    Du(BuilderDuArgs),
    /// Show what builds
    Inspect(BuilderNameArgs),
    /// List the builders, of which there is one
    Ls(BuilderLsArgs),
    /// Forget steps that were made before
    Prune(BuilderPruneArgs),
    /// Remove a builder; the only one stays
    #[command(hide = true)]
    Rm(BuilderNameArgs),
    /// Choose the builder
    #[command(hide = true)]
    Use(BuilderNameArgs),
    /// Show which buildx this is like
    Version(BuildxVersionArgs),
}

/// `lrun system …`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct SystemGroupArgs {
    #[command(subcommand)]
    command: SystemCommand,
}

/// The commands of `lrun system`.
#[derive(Debug, Subcommand)]
enum SystemCommand {
    /// Read everything in the store again, name what is damaged, and mend it
    Check(CheckArgs),
    /// Show what images and containers take on disk
    Df(DfArgs),
    /// Show what lrun found on this machine
    Info(SystemArgs),
    /// Remove what is not used
    Prune(SystemPruneArgs),
}

/// The commands of `lrun container`.
#[derive(Debug, Subcommand)]
enum ContainerCommand {
    /// Create a container from an image and run a command in it
    #[command(override_usage = "lrun container run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
    Run(Box<RunArgs>),
    /// Create a container without starting it
    #[command(override_usage = "lrun container create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
    Create(Box<CreateArgs>),
    /// Start containers that are not running
    Start(StartArgs),
    /// Stop running containers, by force after a time
    Stop(StopArgs),
    /// Stop containers and start them again
    Restart(StopArgs),
    /// Send a signal to running containers
    Kill(KillArgs),
    /// Let the processes of containers stand still
    Pause(PauseArgs),
    /// Let the processes of paused containers go on
    Unpause(PauseArgs),
    /// Show where the ports of a container are reached
    Port(PortArgs),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(RmArgs),
    /// Bring removed containers back
    Undelete(UndeleteArgs),
    /// Wait until containers end, then print their exit codes
    Wait(WaitArgs),
    /// Connect the terminal to a running container
    Attach(AttachArgs),
    /// Run a command in a running container
    #[command(override_usage = "lrun container exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
    Exec(ExecArgs),
    /// Print what a container wrote
    Logs(LogsArgs),
    /// List containers
    #[command(aliases = ["ps", "list"])]
    Ls(PsArgs),
    /// Rename a container
    Rename(RenameArgs),
    /// Print everything known about containers, as JSON
    Inspect(InspectArgs),
    /// List the processes of a container
    #[command(override_usage = "lrun container top CONTAINER [ps OPTIONS]")]
    Top(TopArgs),
    /// Make an image of a container's changes
    Commit(CommitArgs),
    /// List what a container changed: A added, C changed, D deleted
    Diff(DiffArgs),
    /// Write a container's files as a tar archive
    Export(ExportArgs),
    /// Copy files between a container and the host
    #[command(
        override_usage = "lrun container cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       lrun container cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"
    )]
    Cp(CpArgs),
    /// Say by the exit code whether there is such a container
    Exists(ExistsArgs),
    /// Remove all containers that do not run
    Prune(ContainerPruneArgs),
}

/// The commands of `lrun image`.
#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Make an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// List images
    #[command(alias = "list")]
    Ls(ImagesArgs),
    /// Show how an image came to be
    History(HistoryArgs),
    /// Print everything known about images, as JSON
    Inspect(InspectArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Take names from an image, which stays
    Untag(UntagArgs),
    /// Remove images
    #[command(alias = "remove")]
    Rm(RmiArgs),
    /// Make an image of a tar archive
    Import(ImportArgs),
    /// Load images from an archive or a directory
    Load(LoadArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Say by the exit code whether there is such an image
    Exists(ExistsArgs),
    /// Remove images that are not used
    Prune(ImagePruneArgs),
    /// Show which layers images share
    Tree(TreeArgs),
    /// Get an image from a registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
}

impl Command {
    /// The short form of a command: `ps` for `container ls`.
    pub(super) fn canonical(self) -> Self {
        match self {
            Self::Container(args) => args.command.short(),
            Self::Image(args) => args.command.short(),
            Self::System(args) => args.command.short(),
            Self::Builder(args) => match args.command {
                BuilderCommand::Build(args) => Self::Build(args),
                BuilderCommand::Create(args) => Self::BuilderCreate(args),
                BuilderCommand::Du(args) => Self::BuilderDu(args),
                BuilderCommand::Inspect(args) => Self::BuilderInspect(args),
                BuilderCommand::Ls(args) => Self::BuilderLs(args),
                BuilderCommand::Prune(args) => Self::BuilderPrune(args),
                BuilderCommand::Rm(args) => Self::BuilderRm(args),
                BuilderCommand::Use(args) => Self::BuilderUse(args),
                BuilderCommand::Version(args) => Self::BuildxVersion(args),
            },
            Self::Manifest(args) => match args.command {
                ManifestCommand::Annotate(args) => Self::ListAnnotate(args),
                ManifestCommand::Create(args) => Self::ListCreate(args),
                ManifestCommand::Inspect(args) => Self::ManifestInspect(args),
                ManifestCommand::Push(args) => Self::ListPush(args),
                ManifestCommand::Rm(args) => Self::ListRemove(args),
                ManifestCommand::Referrers(args) => Self::Referrers(args),
            },
            short => short,
        }
    }
}

impl ContainerCommand {
    fn short(self) -> Command {
        match self {
            Self::Run(args) => Command::Run(args),
            Self::Create(args) => Command::Create(args),
            Self::Start(args) => Command::Start(args),
            Self::Stop(args) => Command::Stop(args),
            Self::Restart(args) => Command::Restart(args),
            Self::Kill(args) => Command::Kill(args),
            Self::Pause(args) => Command::Pause(args),
            Self::Unpause(args) => Command::Unpause(args),
            Self::Port(args) => Command::Port(args),
            Self::Rm(args) => Command::Rm(args),
            Self::Undelete(args) => Command::Undelete(args),
            Self::Wait(args) => Command::Wait(args),
            Self::Attach(args) => Command::Attach(args),
            Self::Exec(args) => Command::Exec(args),
            Self::Logs(args) => Command::Logs(args),
            Self::Ls(args) => Command::Ps(args),
            Self::Rename(args) => Command::Rename(args),
            Self::Inspect(args) => Command::Inspect(args.of(InspectType::Container)),
            Self::Top(args) => Command::Top(args),
            Self::Commit(args) => Command::Commit(args),
            Self::Diff(args) => Command::Diff(args),
            Self::Export(args) => Command::Export(args),
            Self::Cp(args) => Command::Cp(args),
            Self::Exists(args) => Command::ContainerExists(args),
            Self::Prune(args) => Command::ContainerPrune(args),
        }
    }
}

impl ImageCommand {
    fn short(self) -> Command {
        match self {
            Self::Build(args) => Command::Build(args),
            Self::Ls(args) => Command::Images(args),
            Self::History(args) => Command::History(args),
            Self::Inspect(args) => Command::Inspect(args.of(InspectType::Image)),
            Self::Tag(args) => Command::Tag(args),
            Self::Untag(args) => Command::Untag(args),
            Self::Rm(args) => Command::Rmi(args),
            Self::Import(args) => Command::Import(args),
            Self::Load(args) => Command::Load(args),
            Self::Save(args) => Command::Save(args),
            Self::Pull(args) => Command::Pull(args),
            Self::Push(args) => Command::Push(args),
            Self::Exists(args) => Command::ImageExists(args),
            Self::Prune(args) => Command::ImagePrune(args),
            Self::Tree(args) => Command::ImageTree(args),
        }
    }
}

impl SystemCommand {
    fn short(self) -> Command {
        match self {
            Self::Check(args) => Command::Check(args),
            Self::Df(args) => Command::Df(args),
            Self::Info(args) => Command::Info(args),
            Self::Prune(args) => Command::SystemPrune(args),
        }
    }
}

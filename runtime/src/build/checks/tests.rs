//! What each rule finds, and what it leaves alone.

use proptest::prelude::*;

use super::*;
use crate::build::context::Patterns;
use crate::image::config::{ImageConfig, RunConfig};
use crate::registry::platform::Platform;

fn options() -> Options {
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: String::new() };
    Options { machine: platform.clone(), platform, ..Options::default() }
}

fn report_with(text: &str, options: &Options, ignored: &str) -> Report {
    let ignored = Patterns::parse(ignored.as_bytes()).unwrap();
    let mut image = |name: &str| {
        let config = RunConfig { env: vec!["SET=1".to_owned()], ..RunConfig::default() };
        let architecture = match name {
            "known" => "amd64",
            "foreign" => "arm64",
            _ => return None,
        };
        let (os, architecture) = ("linux".to_owned(), architecture.to_owned());
        Some(ImageConfig { config, os, architecture, ..ImageConfig::default() })
    };
    let mut around = Surroundings { ignored: &ignored, image: &mut image };
    check(&Source::new("Dockerfile", text.as_bytes()).unwrap(), options, &mut around)
}

/// `Rule first-last detail`, or the error last.
fn found_with(text: &str, options: &Options, ignored: &str) -> Vec<String> {
    let report = report_with(text, options, ignored);
    let line = |warning: &Warning| {
        format!("{} {}-{} {}", warning.rule.name, warning.lines.start(), warning.lines.end(), warning.detail)
    };
    let error = report.error.map(|error| format!("error {error}"));
    report.warnings.iter().map(line).chain(error).collect()
}

#[track_caller]
fn finds(text: &str, expected: &[&str]) {
    assert_eq!(found_with(text, &options(), ""), expected, "{text}");
}

#[test]
fn names_and_their_case() {
    finds("FROM scratch AS Base", &["StageNameCasing 1-1 Stage name 'Base' should be lowercase"]);
    finds("FROM scratch as base", &["FromAsCasing 1-1 'as' and 'FROM' keywords' casing do not match"]);
    finds("from scratch AS base", &["FromAsCasing 1-1 'AS' and 'from' keywords' casing do not match"]);
    finds(
        "From scratch as base\nFROM scratch AS two",
        &["ConsistentInstructionCasing 1-1 Command 'From' should match the case of the command majority (uppercase)"],
    );
    finds(
        "FROM scratch\ncopy a /\ncopy b \\\n /",
        &["ConsistentInstructionCasing 1-1 Command 'FROM' should match the case of the command majority (lowercase)"],
    );
    finds("arg a\nFROM scratch", &[]);
    finds(
        "FROM scratch AS b\nFROM scratch AS B",
        &[
            "StageNameCasing 2-2 Stage name 'B' should be lowercase",
            "DuplicateStageName 2-2 Duplicate stage name \"b\", stage names should be unique",
        ],
    );
    finds(
        "FROM scratch AS context",
        &["ReservedStageName 1-1 Stage name should not use the same name as reserved stage \"context\""],
    );
}

#[test]
fn forms_of_instructions() {
    finds("FROM scratch\nCOPY a \\\n\n  /\n", &["NoEmptyContinuation 4-4 Empty continuation line"]);
    finds(
        "FROM scratch\nMAINTAINER me",
        &["MaintainerDeprecated 2-2 Maintainer instruction is deprecated in favor of using label"],
    );
    finds(
        "FROM scratch\nENV a b\nLABEL c d\nENV e=f",
        &[
            "LegacyKeyValueFormat 2-2 \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "LegacyKeyValueFormat 3-3 \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ],
    );
    finds(
        "FROM scratch\nENTRYPOINT a\nCMD \\\n b",
        &[
            "JSONArgsRecommended 2-2 JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
            "JSONArgsRecommended 3-4 JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ],
    );
    finds("FROM scratch AS a\nSHELL [\"x\"]\nFROM a\nCMD b\nHEALTHCHECK CMD c", &[]);
    finds(
        "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK NONE\nFROM scratch\nCMD [\"c\"]",
        &[
            "MultipleInstructionsDisallowed 2-2 Multiple CMD instructions should not be used in the same stage because only the last one will be used",
            "MultipleInstructionsDisallowed 4-4 Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used",
        ],
    );
    finds(
        "FROM scratch AS a\nWORKDIR b\nWORKDIR c\nFROM a\nWORKDIR d\nFROM scratch\nWORKDIR /e\nWORKDIR f",
        &["WorkdirRelativePath 2-2 Relative workdir \"b\" can have unexpected results if the base image changes"],
    );
    finds(
        "FROM scratch\nEXPOSE 80/TcP 1:80 127.0.0.1::80 [::1]:80:80 53/udp :80",
        &[
            "ExposeProtoCasing 2-2 Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
            "ExposeInvalidFormat 2-2 EXPOSE instruction should not define an IP address or host-port mapping, found '1:80'",
            "ExposeInvalidFormat 2-2 EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1::80'",
            "ExposeInvalidFormat 2-2 EXPOSE instruction should not define an IP address or host-port mapping, found '[::1]:80:80'",
        ],
    );
}

#[test]
fn descriptions_are_checked_where_the_file_asks() {
    let text = "# bar\nARG foo=1\n# Base\nFROM scratch AS base\n# a b\n\nARG c\n# d\nARG e f\n# e is\nARG e f";
    finds(text, &[]);
    finds(
        &format!("# check=skip=all;experimental=InvalidDefinitionDescription\n{text}"),
        &[
            "InvalidDefinitionDescription 3-3 Comment for ARG should follow the format: `# foo <description>`",
            "InvalidDefinitionDescription 5-5 Comment for FROM should follow the format: `# base <description>`",
            "InvalidDefinitionDescription 10-10 Comment for ARG should follow the format: `# <arg_key> <description>`",
        ],
    );
}

#[test]
fn variables() {
    finds(
        "FROM scratch AS a\nARG foo\nARG ASSETS=x\nCOPY $foo$ASSETS $ASSET /\nENV PATH=$PAHT:/bin\nFROM a\nCOPY $ASSETS $bar /",
        &[
            "UndefinedVar 4-4 Usage of undefined variable '$ASSET' (did you mean $ASSETS?)",
            "UndefinedVar 5-5 Usage of undefined variable '$PAHT' (did you mean $PATH?)",
            "UndefinedVar 7-7 Usage of undefined variable '$bar'",
        ],
    );
    finds("FROM known\nCOPY $SET$NOTHERE /", &["UndefinedVar 2-2 Usage of undefined variable '$NOTHERE'"]);
    finds("FROM unknown\nCOPY $ANY /\nRUN echo $ANY", &[]);
    finds("FROM scratch\nARG a=$nothere", &["UndefinedVar 2-2 Usage of undefined variable '$nothere'"]);
    finds(
        "FROM scratch\nCOPY <<E <<'F' /\n$nothere\nE\n$nor\nF",
        &["UndefinedVar 2-6 Usage of undefined variable '$nothere'"],
    );
    finds(
        "FROM scratch\nARG SECRET\nARG SECRET_FILE\nENV git_key= sunflower=1 public_token=2 my_Password=3",
        &[
            "SecretsUsedInArgOrEnv 2-2 Do not use ARG or ENV instructions for sensitive data (ARG \"SECRET\")",
            "SecretsUsedInArgOrEnv 4-4 Do not use ARG or ENV instructions for sensitive data (ENV \"git_key\")",
            "SecretsUsedInArgOrEnv 4-4 Do not use ARG or ENV instructions for sensitive data (ENV \"my_Password\")",
        ],
    );
}

#[test]
fn what_from_names() {
    finds("ARG base=scratch\nFROM $base", &[]);
    finds(
        "ARG tag\nFROM known:$tag",
        &["InvalidDefaultArgInFrom 2-2 Default value for ARG known:$tag results in empty or invalid base image name"],
    );
    finds("ARG tag\nFROM known:${tag:-1}", &[]);
    finds(
        "FROM --platform=$BULIDPLATFORM${BUILDPLATFORM} scratch",
        &["UndefinedArgInFrom 1-1 FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"],
    );
    finds(
        "FROM --platform=${TARGETPLATFORM} scratch",
        &[
            "RedundantTargetPlatform 1-1 Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior",
        ],
    );
    finds(
        "FROM --platform=linux/arm64 scratch AS a\nFROM --platform=linux/amd64 scratch AS for_amd64",
        &["FromPlatformFlagConstDisallowed 1-1 FROM --platform flag should not use constant value \"linux/arm64\""],
    );
}

#[test]
fn files_that_are_ignored() {
    let found = |text: &str, ignored: &str| found_with(text, &options(), ignored);
    let expected = [
        "CopyIgnoredFile 2-2 Attempting to Copy file \"a/b\" that is excluded by .dockerignore",
        "CopyIgnoredFile 3-3 Attempting to Add file \"a\" that is excluded by .dockerignore",
    ];
    let text = "FROM scratch AS x\nCOPY ./a/b c /\nADD a/ /\nADD https://a/a /\nCOPY --from=known a /\nCOPY . /\n";
    assert_eq!(found(text, "a"), expected);
    assert_eq!(found(text, "**\n!c"), [""; 0]);
    assert_eq!(
        found("FROM scratch\nCOPY . .", "*"),
        ["CopyIgnoredFile 2-2 Attempting to Copy file \".\" that is excluded by .dockerignore"]
    );
    assert_eq!(found("FROM scratch\nCOPY . .", ".*"), [""; 0]);
}

#[test]
fn what_is_skipped_and_what_is_an_error() {
    let text = "FROM scratch as base\ncopy Dockerfile .\n";
    let casing =
        "ConsistentInstructionCasing 3-3 Command 'copy' should match the case of the command majority (uppercase)";
    let r#as = "FromAsCasing 2-2 'as' and 'FROM' keywords' casing do not match";
    let error = "error lint violation found for rules: FromAsCasing";
    for (check, expected) in [
        ("skip=all", vec![]),
        ("skip=all;error=true", vec![]),
        ("skip=ConsistentInstructionCasing, FromAsCasing;error=true", vec![]),
        ("skip=ConsistentInstructionCasing;error=true", vec![r#as, error]),
        ("error=false", vec![r#as, casing]),
        (
            "error=maybe",
            vec!["error Dockerfile:1:1: failed to parse check options: failed to parse check option \"error=maybe\""],
        ),
        ("skip", vec!["error Dockerfile:1:1: failed to parse check options: invalid check option \"skip\""]),
        ("slip=a", vec!["error Dockerfile:1:1: failed to parse check options: invalid check option \"slip\""]),
    ] {
        finds(&format!("# check={check}\n{text}"), &expected);
    }
    let mut given = options();
    given.arguments.insert(ARGUMENT.to_owned(), "skip=ConsistentInstructionCasing;error=true".to_owned());
    assert_eq!(found_with(&format!("# check=skip=all\n{text}"), &given, ""), [r#as, error]);
    finds(
        "FROM scratch\n# check=skip=all // here alone\nENV password=1\n# check=skip=JSONArgsRecommended\n\nCMD a\n",
        &[],
    );
    finds(
        "FROM scratch\n# check=skip=all\n#\nENV password=1",
        &["SecretsUsedInArgOrEnv 4-4 Do not use ARG or ENV instructions for sensitive data (ENV \"password\")"],
    );
}

#[test]
fn warnings_before_what_is_wrong() {
    finds(
        "FROM scratch AS Bad\nMAINTAINER me\nBADCMD\nMAINTAINER me",
        &[
            "StageNameCasing 1-1 Stage name 'Bad' should be lowercase",
            "MaintainerDeprecated 2-2 Maintainer instruction is deprecated in favor of using label",
            "error Dockerfile:3:1: unknown instruction: BADCMD",
        ],
    );
    finds(
        "FROM scratch\nCOPY $a /\nEXPOSE ${a:-0-x}\nCOPY $b /",
        &[
            "UndefinedVar 2-2 Usage of undefined variable '$a'",
            "UndefinedVar 3-3 Usage of undefined variable '$a'",
            "error Dockerfile:3:8: invalid containerPort: 0-x",
        ],
    );
}

/// What is at hand under the name is not what the stage is for.
#[test]
fn bases_for_another_machine() {
    let warning = "InvalidBaseImagePlatform 2-2 Base image foreign was pulled with platform \"linux/arm64\", expected \
        \"linux/amd64\" for current build";
    finds("ARG A=foreign\nFROM $A AS a\nFROM a\nFROM known\nFROM elsewhere", &[warning]);
    finds("FROM --platform=$BUILDPLATFORM known\n# check=skip=InvalidBaseImagePlatform\nFROM foreign", &[]);
    finds("ARG P=linux/arm64\nFROM --platform=$P foreign", &[]);
    let other = Options { platform: Platform::new("linux", "arm64", ""), ..options() };
    assert!(found_with("FROM foreign", &other, "").is_empty());
}

#[test]
fn of_a_target_only_what_it_needs() {
    let text = "FROM scratch AS a\nCOPY $a /\nFROM scratch AS b\nCOPY $b /\nFROM b\nCOPY $c /\nMAINTAINER m";
    let with = |target: &str| {
        let options = Options { target: Some(target.to_owned()), ..options() };
        report_with(text, &options, "").warnings.iter().map(|warning| *warning.lines.start()).collect::<Vec<_>>()
    };
    assert_eq!(with("2"), [4, 6, 7]);
    assert_eq!(with("b"), [4, 7]);
    let file = Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap();
    let (ignored, mut image) = (Patterns::default(), |_: &str| None);
    let mut around = Surroundings { ignored: &ignored, image: &mut image };
    let built = beside(&file, &options(), &mut around);
    assert!(built.error.is_none());
    assert_eq!(built.warnings.iter().map(|warning| *warning.lines.start()).collect::<Vec<_>>(), [4, 6, 7]);
}

proptest! {
    #[test]
    fn any_text_is_checked(text in "(# check=[a-z;=]{0,9}\n)?(FROM [a-c$:{}-]{1,5} ?(AS [a-c])?\n|[A-Z]{3,5} [a-c$:{}=/-]{1,9}\n|ENV a=[$]b\n|EXPOSE [0-9:/a-z]{1,6}\n|#?\n){1,9}") {
        let report = report_with(&text, &options(), "a\n");
        let lines = text.lines().count() as u32;
        for warning in report.warnings {
            prop_assert!(*warning.lines.start() >= 1 && *warning.lines.end() <= lines, "{text:?} {warning:?}");
        }
    }

    #[test]
    fn any_settings_are_read_or_refused(text in any::<String>()) {
        let _ = Settings::parse(&text);
        let _ = Settings::default().with(&[text]);
    }
}

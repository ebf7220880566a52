//! The documents that are uploaded, and what is expected of each.
//!
//! Every document has a reference of its own, which becomes a part of its job's name. So any file
//! in the spool can be traced to the upload it came from, also when no answer was received. The
//! letters at the reference's end tell the processor what to do; the interfaces say how.

use super::dice::Dice;
use sha2::{Digest, Sha256};

/// The interfaces of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// Straight to `bak`.
    Archive,
    /// A command, at least once.
    Least,
    /// A command, at most once.
    Once,
    /// A command, in strict order.
    Ordered,
    /// What commands emit; pollers fetch it.
    Out,
    /// No processor: its jobs stay queued.
    Plain,
}

impl Lane {
    pub(super) const ALL: [Self; 6] = [
        Self::Archive,
        Self::Least,
        Self::Once,
        Self::Ordered,
        Self::Out,
        Self::Plain,
    ];

    pub(super) fn interface(self) -> &'static str {
        match self {
            Self::Archive => "archive_in",
            Self::Least => "least_in",
            Self::Once => "once_in",
            Self::Ordered => "ordered_in",
            Self::Out => "emitted_out",
            Self::Plain => "plain_in",
        }
    }

    /// The root element by which its documents are recognised.
    fn root(self) -> &'static str {
        match self {
            Self::Archive => "Archive",
            Self::Least => "Least",
            Self::Once => "Once",
            Self::Ordered => "Ordered",
            Self::Out => "Emitted",
            Self::Plain => "Plain",
        }
    }

    /// Its jobs leave the queue by themselves.
    pub(super) fn drains(self) -> bool {
        self.has_command() || self == Self::Archive
    }

    pub(super) fn has_command(self) -> bool {
        matches!(self, Self::Least | Self::Once | Self::Ordered)
    }

    /// Its section of the configuration.
    pub(super) fn section(self) -> String {
        let direction = if self == Self::Out { "out" } else { "in" };
        let command = "processor = { command = [\"sh\", \"process.sh\"] }";
        let again = "retry = { attempts = 50, initial_s = 0.05, factor = 1.0 }";
        let more = match self {
            Self::Archive => "processor = { archive = true }".to_owned(),
            Self::Least => format!("{command}\n{again}"),
            Self::Once => format!("{command}\ndelivery = \"at-most-once\""),
            Self::Ordered => format!("{command}\n{again}\nordered = true"),
            Self::Out | Self::Plain => String::new(),
        };
        let (name, root) = (self.interface(), self.root());
        format!(
            "[interfaces.{name}]\ndirection = \"{direction}\"\nroot = \"{root}\"\nschema = \"\"\n\
             {more}\n\n"
        )
    }
}

/// What the processor does with a job besides reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// Not well-formed, so that the upload is refused and kept.
    pub(super) broken: bool,
    /// Makes a job for [`Lane::Out`].
    pub(super) emits: bool,
    /// Fails for good.
    pub(super) fails: bool,
    /// Makes result files.
    pub(super) results: bool,
    /// Asks for another attempt in its first.
    pub(super) retries: bool,
}

impl Traits {
    fn letters(self) -> String {
        let all = [
            (self.broken, 'b'),
            (self.emits, 'e'),
            (self.fails, 'f'),
            (self.results, 'r'),
            (self.retries, 't'),
        ];
        let letters: String = all.iter().filter(|t| t.0).map(|t| t.1).collect();
        if letters.is_empty() {
            "n".into()
        } else {
            letters
        }
    }
}

/// What the processors run, in a directory of the host, where `runs` is their record: one line
/// when a run begins, one when it has done everything. A run that cannot read its job or write
/// its files ends without the second line.
pub(super) const PROCESSOR: &str = r#"set -eu
read -r up rest < /proc/uptime
echo "start $SPOOLGATE_JOB $SPOOLGATE_INTERFACE $SPOOLGATE_ATTEMPT $up" >> runs
sum=$(sha256sum)
code=0
case ${SPOOLGATE_REF##*-} in
*f*) code=1 ;;
*t*) if [ "$SPOOLGATE_ATTEMPT" = 1 ]; then code=75; fi ;;
esac
if [ $code = 0 ]; then
    case ${SPOOLGATE_REF##*-} in
    *r*)
        cat "$SPOOLGATE_FILE" > "$SPOOLGATE_RESULTS/copy.xml"
        echo "{\"ref\":\"$SPOOLGATE_REF\"}" > "$SPOOLGATE_RESULTS/result.json"
        ;;
    esac
    case ${SPOOLGATE_REF##*-} in
    *e*)
        mkdir "$SPOOLGATE_EMIT/emitted_out"
        emitted=$SPOOLGATE_EMIT/emitted_out/$SPOOLGATE_REF-out.xml
        cat "$SPOOLGATE_FILE" > "$emitted"
        echo "<!-- emitted by $SPOOLGATE_REF -->" >> "$emitted"
        ;;
    esac
fi
echo "end $SPOOLGATE_JOB $SPOOLGATE_INTERFACE $SPOOLGATE_ATTEMPT ${sum%% *} $code" >> runs
exit $code
"#;

/// The end of an emitted job's reference.
const EMITTED: &str = "-out";

/// The reference of the document from which a job of this reference was emitted.
pub(super) fn parent_of(reference: &str) -> Option<&str> {
    reference.strip_suffix(EMITTED)
}

/// The text of a job's `result.json`.
pub(super) fn result_text(reference: &str) -> String {
    format!("{{\"ref\":\"{reference}\"}}\n")
}

/// A document on its way.
pub(super) struct Document {
    pub(super) reference: String,
    pub(super) lane: Lane,
    pub(super) traits: Traits,
    pub(super) body: Vec<u8>,
}

impl Document {
    /// `number` is unique among the documents of `client` on one image.
    pub(super) fn new(client: usize, number: usize, lane: Lane, dice: &mut Dice) -> Self {
        let traits = traits_of(lane, dice);
        let reference = format!("c{client}-{number}-{}", traits.letters());
        let bytes = if dice.one_in(100) {
            dice.between(300 << 10, 1 << 20)
        } else {
            dice.between(1 << 10, 8 << 10)
        };
        let mut body = format!("<{} Ref=\"{reference}\">\n", lane.root()).into_bytes();
        fill(&mut body, usize::try_from(bytes).unwrap(), dice);
        if !traits.broken {
            body.extend_from_slice(format!("</{}>\n", lane.root()).as_bytes());
        }
        Self {
            reference,
            lane,
            traits,
            body,
        }
    }

    pub(super) fn sha256(&self) -> String {
        sha256(&self.body)
    }

    /// The checksum of the job that is emitted from it.
    pub(super) fn emitted_sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.body);
        hash.update(format!("<!-- emitted by {} -->\n", self.reference));
        hex::encode(hash.finalize())
    }
}

fn traits_of(lane: Lane, dice: &mut Dice) -> Traits {
    let mut traits = Traits::default();
    match lane {
        Lane::Least => {
            traits.emits = dice.one_in(3);
            traits.results = dice.one_in(4);
            traits.retries = dice.one_in(8);
            traits.fails = !traits.retries && dice.one_in(16);
        }
        Lane::Ordered => traits.retries = dice.one_in(8),
        Lane::Once => traits.results = dice.one_in(4),
        Lane::Plain => traits.broken = dice.one_in(40),
        Lane::Archive | Lane::Out => {}
    }
    traits
}

/// Lines of random letters: no two blocks are alike, and none is empty.
fn fill(body: &mut Vec<u8>, bytes: usize, dice: &mut Dice) {
    while body.len() < bytes {
        for _ in 0..9 {
            let letters = dice.throw() & 0x0F0F_0F0F_0F0F_0F0F | 0x6060_6060_6060_6060;
            body.extend_from_slice(&(letters + 0x0101_0101_0101_0101).to_le_bytes());
        }
        body.push(b'\n');
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

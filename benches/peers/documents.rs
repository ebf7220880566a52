//! What is uploaded. It promises well-formed XML of exactly the size that is asked for.

/// The size of a usual document.
pub(crate) const USUAL_BYTES: usize = 4096;
/// The size of a large one.
pub(crate) const LARGE_BYTES: usize = 100_000_000;

const LINE: &str =
    "<Line No=\"4711\" State=\"shipped\">Gr\u{f6}\u{df}e &amp; Gewicht gepr\u{fc}ft</Line>\n";

/// A document whose root element is `root`: the beginning, what is repeated, how often, the end.
pub(crate) struct Repeated {
    pub(crate) begin: String,
    pub(crate) piece: String,
    pub(crate) n_pieces: usize,
    pub(crate) end: String,
}

impl Repeated {
    pub(crate) fn new(root: &str, n_bytes: usize) -> Self {
        // Pieces of the size in which clients send.
        let piece = LINE.repeat((n_bytes / 8 / LINE.len()).clamp(1, 16 * 1024 / LINE.len()));
        let begin = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>\n");
        let frame = begin.len() + format!("</{root}>\n").len();
        let n_pieces = n_bytes.saturating_sub(frame) / piece.len();
        let spaces = n_bytes.saturating_sub(frame + n_pieces * piece.len());
        let end = format!("{}</{root}>\n", " ".repeat(spaces));
        Self {
            begin,
            piece,
            n_pieces,
            end,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.begin.len() + self.n_pieces * self.piece.len() + self.end.len()
    }

    pub(crate) fn whole(&self) -> Vec<u8> {
        let pieces = self.piece.repeat(self.n_pieces);
        [
            self.begin.as_bytes(),
            pieces.as_bytes(),
            self.end.as_bytes(),
        ]
        .concat()
    }
}

pub(crate) fn plain(n_bytes: usize) -> Vec<u8> {
    Repeated::new("Plain", n_bytes).whole()
}

/// One that the shipped schema `orders_in` accepts.
pub(crate) fn orders(n_bytes: usize) -> Vec<u8> {
    let begin = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <ListOfOrders CreationDate=\"2026-11-22T04:57:48\">\n";
    let end = "</ListOfOrders>\n";
    let mut text = begin.to_owned();
    for n in 10_000.. {
        let order = format!(
            "<Order OrderID=\"{n}\"><OrderContent><Position No=\"1\" OrderState=\"cancelled\"/>\
             </OrderContent></Order>\n"
        );
        if text.len() + order.len() + end.len() > n_bytes {
            break;
        }
        text += &order;
    }
    text += &" ".repeat(n_bytes.saturating_sub(text.len() + end.len()));
    text += end;
    text.into_bytes()
}

/// The same with one wrong value, in the last order: a state must not be empty.
pub(crate) fn orders_with_a_mistake(n_bytes: usize) -> Vec<u8> {
    const STATE: &[u8] = b"\"cancelled\"";
    const EMPTY: &[u8] = b"\"\"         ";
    let mut text = orders(n_bytes);
    let last = text.windows(STATE.len()).rposition(|bytes| bytes == STATE);
    if let Some(at) = last {
        text.splice(at..at + STATE.len(), EMPTY.iter().copied());
    }
    text
}

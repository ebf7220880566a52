//! `xs:hexBinary` and `xs:base64Binary` (Part 2, 3.2.15 and 3.2.16).

/// How many bytes the digits stand for.
pub(super) fn hexadecimal_length(value: &[u8]) -> Option<usize> {
    let is_sound = value.len().is_multiple_of(2) && value.iter().all(u8::is_ascii_hexdigit);
    is_sound.then_some(value.len() / 2)
}

/// How many bytes the text stands for; there may be single blanks in it, as in line-wrapped text
/// whose white space was collapsed.
pub(super) fn base64_length(value: &[u8]) -> Option<usize> {
    let (mut n_digits, mut n_padding, mut last) = (0, 0, 0);
    for byte in value {
        let digit = match byte {
            b' ' => continue,
            b'=' => {
                n_padding += 1;
                continue;
            }
            _ if n_padding > 0 => return None,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        n_digits += 1;
        last = digit;
    }
    // What the last digit has too much has to be zero.
    let is_sound = match (n_digits % 4, n_padding) {
        (0, 0) => true,
        (3, 1) => last & 0b11 == 0,
        (2, 2) => last & 0b1111 == 0,
        _ => false,
    };
    is_sound.then_some(n_digits * 6 / 8)
}

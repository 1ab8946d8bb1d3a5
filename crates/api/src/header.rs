//! Names of headers that neither a step nor a Connection sets.

/// Headers of the connection between two hosts, which the client sets.
const OF_THE_CLIENT: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers that hold credentials.
const CREDENTIALS: [&str; 2] = ["authorization", "proxy-authorization"];

/// Why a header of the client is refused.
pub const OF_THE_CLIENT_MESSAGE: &str = "this header is set by Signoff";

/// CEL: whether `name`, of a header that authenticates, is none of the client.
pub const NAME_RULE: &str = "!(self.name.lowerAscii() in ['connection', 'content-length', 'host', 'keep-alive', 'proxy-connection', 'te', \
    'trailer', 'transfer-encoding', 'upgrade'])";

/// CEL: whether the idempotency header is none of the client, and holds no credentials.
pub const IDEMPOTENCY_RULE: &str = "!has(self.idempotencyHeader) || !(self.idempotencyHeader.lowerAscii() in ['connection', 'content-length', \
    'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'authorization', \
    'proxy-authorization'])";

/// CEL: the same of `headers`, in the usual spellings; the API server knows no bound of the names, and so may not change
/// their case.
pub const HEADERS_RULE: &str = "!has(self.headers) || !self.headers.exists(name, name in ['Connection', 'connection', 'Content-Length', \
    'content-length', 'Host', 'host', 'Keep-Alive', 'keep-alive', 'Proxy-Connection', 'proxy-connection', 'TE', \
    'te', 'Trailer', 'trailer', 'Transfer-Encoding', 'transfer-encoding', 'Upgrade', 'upgrade', 'Authorization', \
    'authorization', 'Proxy-Authorization', 'proxy-authorization'])";

/// CEL: as [`HEADERS_RULE`], and that there is no header of a signature among them.
pub const WEBHOOK_HEADERS_RULE: &str = "!has(self.headers) || !self.headers.exists(name, name.startsWith('webhook-') || name.startsWith('Webhook-') || \
    name in ['Connection', 'connection', 'Content-Length', 'content-length', 'Host', 'host', 'Keep-Alive', 'keep-alive', \
    'Proxy-Connection', 'proxy-connection', 'TE', 'te', 'Trailer', 'trailer', 'Transfer-Encoding', 'transfer-encoding', \
    'Upgrade', 'upgrade', 'Authorization', 'authorization', 'Proxy-Authorization', 'proxy-authorization'])";

/// CEL: whether the idempotency key has its header for itself.
pub const SAME_RULE: &str = "!has(self.headers) || !((has(self.idempotencyHeader) ? self.idempotencyHeader : 'Idempotency-Key') in \
    self.headers)";

/// CEL: the same of the header that authenticates.
pub const SAME_AUTH_RULE: &str = "!has(self.auth) || !has(self.auth.header) || self.auth.header.name.lowerAscii() != (has(self.idempotencyHeader) \
    ? self.idempotencyHeader.lowerAscii() : 'idempotency-key')";

/// Why another header of the same name is refused.
pub const SAME_MESSAGE: &str = "the header of the idempotency key is set by Signoff";

/// Whether it is for the client to set, however it is spelt.
pub fn is_of_the_client(name: &str) -> bool {
    OF_THE_CLIENT.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether it holds credentials.
pub fn holds_credentials(name: &str) -> bool {
    CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_have_the_names_of_the_lists() {
        for name in OF_THE_CLIENT {
            let quoted = format!("'{name}'");
            for rule in [NAME_RULE, IDEMPOTENCY_RULE, HEADERS_RULE, WEBHOOK_HEADERS_RULE] {
                assert!(rule.contains(&quoted), "{name} in {rule}");
            }
            assert!(is_of_the_client(&name.to_uppercase()) && !holds_credentials(name));
        }
        for name in CREDENTIALS {
            let quoted = format!("'{name}'");
            assert!(IDEMPOTENCY_RULE.contains(&quoted) && HEADERS_RULE.contains(&quoted));
            assert!(WEBHOOK_HEADERS_RULE.contains(&quoted));
            assert!(!NAME_RULE.contains(&quoted) && holds_credentials(name) && !is_of_the_client(name));
        }
    }
}

//! A certificate authority of the test's own, which issues certificates of every kind, good and bad.

use std::cell::Cell;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use token_authority::clock::{Clock, SystemClock};

/// An hour, in seconds: certificates of tests hold for so long before and after now.
pub(crate) const HOUR: i64 = 3600;
/// A day, in seconds.
pub(crate) const DAY: i64 = 24 * HOUR;

/// One that signs certificates.
pub(crate) struct TestAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Itself and those above it, but the root; what a server sends after its own certificate.
    between: String,
    next_serial: Cell<u64>,
}

/// What a certificate is to say.
pub(crate) struct Wanted {
    names: Vec<SanType>,
    common_name: String,
    usages: Vec<ExtendedKeyUsagePurpose>,
    /// Seconds from now.
    span: (i64, i64),
    algorithm: &'static SignatureAlgorithm,
    key: Option<KeyPair>,
    extensions: Vec<CustomExtension>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    /// With those between it and the root.
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) serial: u64,
    pub(crate) der: Vec<u8>,
}

impl TestAuthority {
    pub(crate) fn new(name: &str) -> Self {
        Self::root(Self::params(name))
    }

    /// One whose own certificate ends so many seconds from now.
    pub(crate) fn until(name: &str, until: i64) -> Self {
        let mut params = Self::params(name);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(until);
        Self::root(params)
    }

    fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root");
        Self {
            issuer,
            between: String::new(),
            next_serial: Cell::new(1),
        }
    }

    /// One whose own certificate comes from this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let (mut params, key) = (Self::params(name), KeyPair::generate().expect("a key"));
        params.serial_number = Some(SerialNumber::from(self.serial()));
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate");
        Self {
            between: format!("{}{}", issuer.pem(), self.between),
            issuer,
            next_serial: Cell::new(1),
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn serial(&self) -> u64 {
        self.next_serial.replace(self.next_serial.get() + 1)
    }

    /// Its own certificate, which others trust.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn issue(&self, wanted: Wanted) -> Issued {
        let Wanted {
            names,
            common_name,
            usages,
            span: (from, until),
            algorithm,
            key,
            extensions,
        } = wanted;
        let key = key.unwrap_or_else(|| KeyPair::generate_for(algorithm).expect("a key"));
        let serial = self.serial();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = names;
        params.extended_key_usages = usages;
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970(from);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(until);
        params.custom_extensions = extensions;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            chain: format!("{}{}", certificate.pem(), self.between),
            key: key.serialize_pem(),
            serial,
            der: certificate.der().to_vec(),
        }
    }

    /// A server's certificate for loopback.
    pub(crate) fn server(&self) -> Issued {
        self.issue(Wanted::server())
    }

    /// A list (PEM) that revokes `serials`, and ends so many seconds from now.
    pub(crate) fn revoking(&self, serials: &[u64], until: i64) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(1970, 1, 1) + since_1970(-HOUR),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + since_1970(until.min(0) - HOUR),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        list.pem().expect("PEM")
    }
}

impl Wanted {
    pub(crate) fn server() -> Self {
        Self::of(ExtendedKeyUsagePurpose::ServerAuth)
            .dns("localhost")
            .address([127, 0, 0, 1])
    }

    pub(crate) fn client() -> Self {
        Self::of(ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn of(usage: ExtendedKeyUsagePurpose) -> Self {
        Self {
            names: Vec::new(),
            common_name: "a test".to_owned(),
            usages: vec![usage],
            span: (-HOUR, HOUR),
            algorithm: &PKCS_ECDSA_P256_SHA256,
            key: None,
            extensions: Vec::new(),
        }
    }

    fn named(mut self, name: SanType) -> Self {
        self.names.push(name);
        self
    }

    pub(crate) fn dns(self, name: &str) -> Self {
        let name = name.try_into().expect("ASCII");
        self.named(SanType::DnsName(name))
    }

    pub(crate) fn address(self, address: [u8; 4]) -> Self {
        self.named(SanType::IpAddress(address.into()))
    }

    pub(crate) fn uri(self, uri: &str) -> Self {
        let uri = uri.try_into().expect("ASCII");
        self.named(SanType::URI(uri))
    }

    /// Without any name but those given from here on.
    pub(crate) fn nameless(mut self) -> Self {
        self.names.clear();
        self
    }

    pub(crate) fn common_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.common_name);
        self
    }

    /// Holding from the first to the second, in seconds from now.
    pub(crate) fn holding(mut self, from: i64, until: i64) -> Self {
        self.span = (from, until);
        self
    }

    pub(crate) fn signing_with(mut self, algorithm: &'static SignatureAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    pub(crate) fn with_key(mut self, key: KeyPair) -> Self {
        self.key = Some(key);
        self
    }

    /// With an extension of this number and this content, in DER.
    pub(crate) fn extended(mut self, oid: &[u64], content: Vec<u8>) -> Self {
        let extension = CustomExtension::from_oid_content(oid, content);
        self.extensions.push(extension);
        self
    }
}

/// A moment so many seconds from now, as the time since 1970.
fn since_1970(seconds_from_now: i64) -> Duration {
    let now = i64::try_from(SystemClock.now().micros() / 1_000_000).expect("this era");
    Duration::from_secs(u64::try_from(now + seconds_from_now).expect("after 1970"))
}

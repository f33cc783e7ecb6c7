#include "healthd/probes/tls.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "healthd/core/types.hpp"
#include "healthd/probes/errors.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

// Handshake and records of one conversation; OpenSSL limits a certificate chain to 100 KiB itself.
constexpr std::size_t raw_bytes_max = 256 * 1024;
constexpr std::size_t name_bytes_max = 64;

// Distinguishes versions of a file without reading it.
std::string stamp_of(const std::string& file) {
    struct stat s{};
    if (file.empty() || ::stat(file.c_str(), &s) != 0) return file;
    return file + '@' + std::to_string(s.st_ino) + '.' + std::to_string(s.st_size) + '.' +
           std::to_string(s.st_mtim.tv_sec) + '.' + std::to_string(s.st_mtim.tv_nsec);
}

std::string openssl_error() {
    const unsigned long code = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(code)) return error_text(ERR_GET_REASON(code));
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : "it holds nothing that OpenSSL understands";
}

Error file_error(const char* key, const std::string& file) {
    Error error{std::string("tls.") + key + ": cannot use " + file + ": " + openssl_error(),
                "give a readable PEM file"};
    ERR_clear_error();
    return error;
}

Result<void> load_files(SSL_CTX& context, const config::CheckTls& settings) {
    ERR_clear_error();
    if (settings.verify()) {
        if (settings.ca_file().empty()) {
            if (SSL_CTX_set_default_verify_paths(&context) != 1)
                return file_error("verify", "the system's certificates");
        } else if (SSL_CTX_load_verify_file(&context, settings.ca_file().c_str()) != 1) {
            return file_error("ca_file", settings.ca_file());
        }
    }
    const bool with_key = !settings.private_key().empty();
    if (settings.certificate().empty()) {
        if (with_key) return Error{"tls.private_key is there without tls.certificate", "give both"};
        return {};
    }
    if (SSL_CTX_use_certificate_chain_file(&context, settings.certificate().c_str()) != 1) {
        return file_error("certificate", settings.certificate());
    }
    // One file may hold both.
    const std::string& key = with_key ? settings.private_key() : settings.certificate();
    if (SSL_CTX_use_PrivateKey_file(&context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
        return file_error("private_key", key);
    }
    return {};
}

std::string text_of(const ASN1_STRING* string) {
    if (string == nullptr) return {};
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
            static_cast<std::size_t>(ASN1_STRING_length(string))};
}

// The first name in a certificate, for people.
std::string name_in(const X509* certificate) {
    std::string name;
    if (auto* names =
            static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))) {
        for (int i = 0; i < sk_GENERAL_NAME_num(names) && name.empty(); ++i) {
            const GENERAL_NAME* entry = sk_GENERAL_NAME_value(names, i);
            if (entry->type == GEN_DNS) name = text_of(entry->d.dNSName);
            if (entry->type == GEN_IPADD) {
                const std::string bytes = text_of(entry->d.iPAddress);
                const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
                std::array<std::uint8_t, 4> v4{};
                std::array<std::uint8_t, 16> v6{};
                if (bytes.size() == v4.size()) {
                    std::copy_n(data, v4.size(), v4.begin());
                    name = IpAddress::v4(v4).to_string();
                } else if (bytes.size() == v6.size()) {
                    std::copy_n(data, v6.size(), v6.begin());
                    name = IpAddress::v6(v6).to_string();
                }
            }
        }
        GENERAL_NAMES_free(names);
    }
    if (name.empty()) {
        const X509_NAME* subject = X509_get_subject_name(certificate);
        const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        if (at >= 0) name = text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    }
    return name.empty() ? "nobody" : printable(name, name_bytes_max);
}

Result<TlsContext> make_context(const config::CheckTls& settings, std::string_view alpn) {
    TlsContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    LBC_ASSERT(context != nullptr);
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context.get(),
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // Many servers just hang up; the protocols above know where an answer ends.
    SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (settings.verify()) {
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    } else {
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
        SSL_CTX_set_security_level(context.get(), 0);
        SSL_CTX_set_options(context.get(), SSL_OP_LEGACY_SERVER_CONNECT);
    }
    if (!alpn.empty()) {
        std::string list(1, static_cast<char>(alpn.size()));
        list += alpn;
        SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(list.data()),
                                static_cast<unsigned>(list.size()));
    }
    if (const auto loaded = load_files(*context, settings); !loaded) return loaded.error();
    return context;
}

}  // namespace

TlsContext TlsFiles::context() {
    const auto now = std::chrono::steady_clock::now();
    if (looked_ && now - *looked_ < look_pace) return context_;
    looked_ = now;
    // Of the system's authorities it is the folder that changes.
    const bool systems = settings_.verify() && settings_.ca_file().empty();
    const std::string stamp = stamp_of(systems ? X509_get_default_cert_dir() : settings_.ca_file()) + '\n' +
                              stamp_of(settings_.certificate()) + '\n' + stamp_of(settings_.private_key());
    if (stamp == stamp_) return context_;
    stamp_ = stamp;
    auto made = make_context(settings_, alpn_);
    error_ = made ? Error{} : made.error();
    if (made) context_ = std::move(*made);
    return context_;
}

Result<std::shared_ptr<TlsFiles>> TlsContexts::get(const config::CheckTls& settings, std::string_view alpn) {
    std::erase_if(kept_, [](const auto& entry) { return entry.second.expired(); });
    const std::string key = std::string(alpn) + (settings.verify() ? "\nverify\n" : "\n\n") + settings.ca_file() +
                            '\n' + settings.certificate() + '\n' + settings.private_key();
    if (const auto found = kept_.find(key); found != kept_.end()) return found->second.lock();
    auto files = std::make_shared<TlsFiles>(settings, alpn);
    if (files->context() == nullptr) return files->error();
    kept_[key] = files;
    return files;
}

TlsSession::TlsSession(const TlsContext& context, int fd, const std::string& name)
    : ssl_(SSL_new(context.get()), SSL_free), name_(name), fd_(fd) {
    LBC_ASSERT(ssl_ != nullptr);
    BIO* bio = BIO_new(socket_method());
    LBC_ASSERT(bio != nullptr);
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_connect_state(ssl_.get());
    SSL_set_app_data(ssl_.get(), this);
    SSL_set_verify(ssl_.get(), SSL_get_verify_mode(ssl_.get()), on_verified);
    const bool is_address = IpAddress::parse(name).ok();
    if (!is_address && !name.empty()) SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
    X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl_.get());
    if (is_address) X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str());
    else X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size());
}

TlsSession::~TlsSession() = default;

const BIO_METHOD* TlsSession::socket_method() {
    // OpenSSL's own socket BIO writes without MSG_NOSIGNAL.
    static const BIO_METHOD* method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "probe");
        LBC_ASSERT(made != nullptr);
        BIO_meth_set_read(made, bio_read);
        BIO_meth_set_write(made, bio_write);
        BIO_meth_set_ctrl(made, bio_control);
        return made;
    }();
    return method;
}

int TlsSession::bio_read(BIO* bio, char* to, int bytes) {
    auto& self = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (self.raw_bytes_ >= raw_bytes_max) {
        self.errno_ = EMSGSIZE;
        return -1;
    }
    const ssize_t got = ::recv(self.fd_, to, static_cast<std::size_t>(bytes), 0);
    if (got > 0) self.raw_bytes_ += static_cast<std::size_t>(got);
    if (got == 0) self.eof_ = true;
    if (got < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
    else if (got < 0) self.errno_ = errno;
    return static_cast<int>(got);
}

int TlsSession::bio_write(BIO* bio, const char* from, int bytes) {
    auto& self = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t put = ::send(self.fd_, from, static_cast<std::size_t>(bytes), MSG_NOSIGNAL);
    if (put < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
    else if (put < 0) self.errno_ = errno;
    return static_cast<int>(put);
}

long TlsSession::bio_control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return static_cast<TlsSession*>(BIO_get_data(bio))->eof_ ? 1 : 0;
    return 0;
}

// A session that failed does not keep the certificate.
int TlsSession::on_verified(int good, X509_STORE_CTX* store) {
    if (good == 0) {
        const auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
        auto& self = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
        const X509* certificate = X509_STORE_CTX_get0_cert(store);
        if (certificate != nullptr) self.name_in_bad_certificate_ = name_in(certificate);
    }
    return good;
}

TlsSession::Io TlsSession::after(int result) {
    if (result > 0) return Io::ok;
    switch (SSL_get_error(ssl_.get(), result)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return Io::again;
        case SSL_ERROR_ZERO_RETURN:
            return Io::closed;
        default:
            error_ = ERR_peek_error();
            return Io::failed;
    }
}

TlsSession::Io TlsSession::handshake() {
    ERR_clear_error();
    const Io io = after(SSL_do_handshake(ssl_.get()));
    return io == Io::closed ? Io::failed : io;
}

TlsSession::Io TlsSession::read(char* to, std::size_t bytes_max, std::size_t& bytes) {
    ERR_clear_error();
    return after(SSL_read_ex(ssl_.get(), to, bytes_max, &bytes));
}

TlsSession::Io TlsSession::write(std::string_view from, std::size_t& bytes) {
    ERR_clear_error();
    return after(SSL_write_ex(ssl_.get(), from.data(), from.size(), &bytes));
}

void TlsSession::close_notify() {
    ERR_clear_error();
    (void)SSL_shutdown(ssl_.get());
}

std::string TlsSession::why() const {
    if (errno_ == EMSGSIZE) return "the server sends without end";
    if (errno_ != 0) return error_text(errno_);
    const long verdict = SSL_get_verify_result(ssl_.get());
    if (verdict != X509_V_OK && SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE) {
        if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH) {
            return "certificate is for " + name_in_bad_certificate_ + ", wanted " + printable(name_, name_bytes_max);
        }
        return X509_verify_cert_error_string(verdict);
    }
    const int reason = ERR_GET_REASON(error_);
    if (eof_ || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return "the server closed the connection";
    switch (reason) {
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
            return "the server does not speak TLS here";
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
            return "the server speaks nothing newer than TLS 1.1";
        default:
            break;
    }
    const char* text = ERR_reason_error_string(error_);
    return text != nullptr ? text : "it failed";
}

std::string TlsSession::description() const {
    std::string text = std::string(SSL_get_version(ssl_.get())) + ", " + SSL_get_cipher_name(ssl_.get());
    if (const X509* certificate = SSL_get0_peer_certificate(ssl_.get()))
        text += ", certificate for " + name_in(certificate);
    return text;
}

}  // namespace lbcluster::health

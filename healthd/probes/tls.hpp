// TLS as a client over a non-blocking socket (RFC 8446, RFC 5246), by OpenSSL.
//
// At least TLS 1.2. With `verify`, chain, dates and name must be right, at Debian's security level, and the trust is
// `ca_file` or the system's. Without it health is not identity: any certificate is taken, and weak keys and servers
// without secure renegotiation (RFC 5746), too, as nothing is lost any more. No session is resumed: each probe shows
// that a new client would get in.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::health {

using TlsContext = std::shared_ptr<SSL_CTX>;

// One context, made anew when a file of it has changed: a certificate, key or authority that was renewed counts for the
// probes that begin afterwards. Files are looked at once a second at most, however many probes share this. What cannot
// be used (a certificate is there, its key not yet) leaves the last one that could in force.
class TlsFiles {
  public:
    static constexpr seconds look_pace{1};

    TlsFiles(config::CheckTls settings, std::string_view alpn) : settings_(std::move(settings)), alpn_(alpn) {}

    // Null: there never was a good one; see error().
    TlsContext context();
    // Why the files as they are now cannot be used: which one, and why. Empty: they are in use.
    [[nodiscard]] const Error& error() const { return error_; }

  private:
    const config::CheckTls settings_;
    const std::string alpn_;
    TlsContext context_;
    Error error_;
    std::string stamp_;  // of the files when they were read
    std::optional<std::chrono::steady_clock::time_point> looked_;
};

// One for equal settings, kept while a probe uses it.
class TlsContexts {
  public:
    // `alpn`: one protocol's name, or empty. Error: which file, and why.
    Result<std::shared_ptr<TlsFiles>> get(const config::CheckTls& settings, std::string_view alpn);

  private:
    std::map<std::string, std::weak_ptr<TlsFiles>> kept_;
};

class TlsSession {
  public:
    enum class Io { ok, again, closed, failed };

    // `name`: a host name (SNI, and verified if the context verifies) or an address (only verified).
    TlsSession(const TlsContext& context, int fd, const std::string& name);
    ~TlsSession();
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;

    // ok, again (wait for either direction) or failed. closed stands for the server's end of the conversation.
    Io handshake();
    Io read(char* to, std::size_t bytes_max, std::size_t& bytes);
    Io write(std::string_view from, std::size_t& bytes);
    void close_notify();

    // Why the last call failed: "certificate has expired", "the server does not speak TLS". No trailing period.
    [[nodiscard]] std::string why() const;
    // "TLSv1.3, TLS_AES_256_GCM_SHA384, certificate for www.example", for transcripts.
    [[nodiscard]] std::string description() const;

  private:
    static const BIO_METHOD* socket_method();
    static int bio_read(BIO* bio, char* to, int bytes);
    static int bio_write(BIO* bio, const char* from, int bytes);
    static long bio_control(BIO* bio, int command, long number, void* pointer);
    static int on_verified(int good, X509_STORE_CTX* store);
    Io after(int result);

    std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
    std::string name_;
    std::string name_in_bad_certificate_;
    int fd_;
    int errno_ = 0;
    bool eof_ = false;
    std::size_t raw_bytes_ = 0;
    unsigned long error_ = 0;
};

}  // namespace lbcluster::health

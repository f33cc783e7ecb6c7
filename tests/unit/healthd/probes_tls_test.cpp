// TLS in probes: good, expired, wrong and unknown certificates, our own certificate, STARTTLS and its injection, and
// servers that hang, reset or close in the handshake. HC-2, HC-3.
#include <gmock/gmock.h>
#include <openssl/ssl.h>

#include <atomic>
#include <fstream>

#include "tests/unit/healthd/probes_certificates.hpp"
#include "tests/unit/healthd/probes_rig.hpp"

namespace lbcluster::health::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The server's side of TLS on a connection of a Peer.
class TlsServer {
  public:
    struct Options {
        Identity identity;
        Identity client_authority = {};  // there: a client must have a certificate of it
        int version_max = 0;
        std::string alpn = {};
    };
    explicit TlsServer(Options options)
        : options_(std::move(options)), context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free) {
        SSL_CTX* context = context_.get();
        SSL_CTX_set_security_level(context, 0);
        SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(context, options_.version_max);
        SSL_CTX_use_certificate(context, options_.identity.certificate.get());
        SSL_CTX_use_PrivateKey(context, options_.identity.key.get());
        if (options_.client_authority.certificate) {
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
            X509_STORE_add_cert(SSL_CTX_get_cert_store(context), options_.client_authority.certificate.get());
        }
        SSL_CTX_set_alpn_select_cb(context, select_alpn, this);
    }
    // Shakes hands, then plays `talk`.
    bool serve(const Connection& connection, const std::function<void(SSL*)>& talk) {
        const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context_.get()), SSL_free);
        SSL_set_fd(ssl.get(), connection.fd());
        if (SSL_accept(ssl.get()) != 1) {
            // The alert is out. Closed with something unread, the connection would be reset, and the alert lost.
            ::shutdown(connection.fd(), SHUT_WR);
            connection.wait_for_close();
            return false;
        }
        const char* name = SSL_get_servername(ssl.get(), TLSEXT_NAMETYPE_host_name);
        sni = name != nullptr ? name : "";
        talk(ssl.get());
        return true;
    }
    std::string sni;
    std::string alpn;

  private:
    static int select_alpn(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* in,
                           unsigned int in_bytes, void* self) {
        static_cast<TlsServer*>(self)->alpn.assign(reinterpret_cast<const char*>(in) + 1, in_bytes - 1);
        *out = in + 1;
        *out_bytes = in[0];
        return SSL_TLSEXT_ERR_OK;
    }
    Options options_;
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
};

void answer_http(SSL* ssl) {
    std::array<char, 4096> bytes{};
    (void)SSL_read(ssl, bytes.data(), bytes.size());
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
    (void)SSL_write(ssl, answer.data(), static_cast<int>(answer.size()));
    (void)SSL_read(ssl, bytes.data(), bytes.size());
}

class Tls : public Rig {
  protected:
    static void SetUpTestSuite() { ::signal(SIGPIPE, SIG_IGN); }  // for SSL_write of the servers here

    static Peer::Script serving(TlsServer& server, const std::function<void(SSL*)>& talk = answer_http) {
        return [&server, talk](Connection& c) { (void)server.serve(c, talk); };
    }
    ProbeSpec https(std::uint16_t port) {
        ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_HTTPS, port);
        spec.check.mutable_tls();
        return spec;
    }
    // Verifies against our own authority.
    ProbeSpec verified(std::uint16_t port, const std::string& name) {
        ProbeSpec spec = https(port);
        spec.check.mutable_tls()->set_verify(true);
        spec.check.mutable_tls()->set_ca_file(authority_.file("authority.pem"));
        spec.check.mutable_tls()->set_server_name(name);
        return spec;
    }
    Authority authority_;
};

TEST_F(Tls, AnyCertificateWillDoUnlessVerified) {
    TlsServer server({authority_.sign("DNS:other.example", -7200, -3600)});
    const Peer peer(serving(server));
    ProbeSpec spec = https(peer.port());
    spec.check.set_host("www.example:8443");
    EXPECT_EQ(text_of(ask(spec)), "up: HTTP 200");
    EXPECT_EQ(server.sni, "www.example");
    EXPECT_EQ(server.alpn, "http/1.1");
    EXPECT_THAT(transcript_.text(),
                HasSubstr("* TLS: TLSv1.3, TLS_AES_256_GCM_SHA384, certificate for other.example\n"));
}

TEST_F(Tls, VerifiedNameAndAddress) {
    TlsServer server({authority_.sign("DNS:www.example, IP:127.0.0.1")});
    const Peer peer(serving(server));
    EXPECT_EQ(text_of(ask(verified(peer.port(), "www.example"))), "up: HTTP 200");
    EXPECT_EQ(server.sni, "www.example");
    // Without a name it is the server's address, which is never sent as SNI (RFC 6066, section 3).
    EXPECT_EQ(text_of(ask(verified(peer.port(), ""))), "up: HTTP 200");
    EXPECT_EQ(server.sni, "");
    EXPECT_EQ(text_of(ask(verified(peer.port(), "10.0.0.1"))),
              "down: TLS: certificate is for www.example, wanted 10.0.0.1");
}

TEST_F(Tls, BadCertificates) {
    struct Row {
        Identity identity;
        const char* verdict;
    };
    const Authority stranger;
    const std::vector<Row> rows{
        {authority_.sign("DNS:www.example", -7200, -3600), "down: TLS: certificate has expired"},
        {authority_.sign("DNS:www.example", 3600, 7200), "down: TLS: certificate is not yet valid"},
        {authority_.sign("DNS:other.example"), "down: TLS: certificate is for other.example, wanted www.example"},
        {authority_.sign("IP:192.0.2.1"), "down: TLS: certificate is for 192.0.2.1, wanted www.example"},
        {authority_.sign("IP:2001:db8::1"), "down: TLS: certificate is for 2001:db8::1, wanted www.example"},
        {authority_.sign(""), "down: TLS: certificate is for server, wanted www.example"},
        {stranger.sign("DNS:www.example"), "down: TLS: certificate signature failure"},  // of the same name
        {stranger.own(), "down: TLS: self-signed certificate"},
    };
    for (const Row& row : rows) {
        TlsServer server({row.identity});
        const Peer peer(serving(server));
        EXPECT_EQ(text_of(ask(verified(peer.port(), "www.example"))), row.verdict);
    }
}

TEST_F(Tls, TheSystemsTrustIsTheDefault) {
    TlsServer server({authority_.sign("DNS:www.example")});
    const Peer peer(serving(server));
    ProbeSpec spec = verified(peer.port(), "www.example");
    spec.check.mutable_tls()->clear_ca_file();
    EXPECT_EQ(text_of(ask(spec)), "down: TLS: unable to get local issuer certificate");
}

TEST_F(Tls, OurOwnCertificateIsShown) {
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        TlsServer server({authority_.sign("DNS:www.example"), authority_.own(), version});
        const Peer peer(serving(server));
        ProbeSpec spec = https(peer.port());
        EXPECT_THAT(text_of(ask(spec)), ::testing::AllOf(StartsWith("down: "), HasSubstr("TLS: "), HasSubstr("alert")));
        authority_.write(authority_.sign(""), "client");
        spec.check.mutable_tls()->set_certificate(authority_.file("client.pem"));
        spec.check.mutable_tls()->set_private_key(authority_.file("client.key"));
        EXPECT_EQ(text_of(ask(spec)), "up: HTTP 200");
    }
}

TEST_F(Tls, FilesThatCannotBeUsedAreNamed) {
    const auto message = [&](const std::function<void(config::CheckTls&)>& change) {
        ProbeSpec spec = https(443);
        change(*spec.check.mutable_tls());
        const auto made = factory_.make(spec);
        return made ? "made" : made.error().message;
    };
    std::ofstream(authority_.file("nonsense.pem")) << "nonsense\n";
    EXPECT_THAT(
        message([&](config::CheckTls& tls) {
            tls.set_verify(true);
            tls.set_ca_file("/nonexistent/ca.pem");
        }),
        ::testing::AllOf(StartsWith("tls.ca_file: cannot use /nonexistent/ca.pem: "), HasSubstr("no such file")));
    EXPECT_THAT(message([&](config::CheckTls& tls) { tls.set_certificate(authority_.file("nonsense.pem")); }),
                StartsWith("tls.certificate: cannot use "));
    EXPECT_THAT(message([&](config::CheckTls& tls) {
                    tls.set_certificate(authority_.file("authority.pem"));
                    tls.set_private_key("/nonexistent/key");
                }),
                StartsWith("tls.private_key: cannot use /nonexistent/key: no such file"));
    authority_.write(authority_.sign(""), "other");
    EXPECT_THAT(message([&](config::CheckTls& tls) {
                    tls.set_certificate(authority_.file("authority.pem"));
                    tls.set_private_key(authority_.file("other.key"));
                }),
                HasSubstr("key values mismatch"));
    EXPECT_THAT(message([&](config::CheckTls& tls) { tls.set_private_key(authority_.file("other.key")); }),
                StartsWith("tls.private_key is there without tls.certificate"));
}

TEST_F(Tls, EqualSettingsShareTheirFiles) {
    TlsContexts contexts;
    config::CheckTls settings;
    settings.set_verify(true);
    settings.set_ca_file(authority_.file("authority.pem"));
    const auto first = contexts.get(settings, "");
    ASSERT_TRUE(first);
    EXPECT_EQ(*contexts.get(settings, ""), *first);
    EXPECT_NE(*contexts.get(settings, "h2"), *first);
}

// A probe that goes on and on, as those of a target do.
TEST_F(Tls, ARenewedAuthorityCountsForTheNextProbe) {
    const Authority next;
    TlsServer before({authority_.sign("DNS:www.example")});
    TlsServer after({next.sign("DNS:www.example")});
    std::atomic<TlsServer*> server{&before};
    const Peer peer([&](Connection& c) { (void)server.load()->serve(c, answer_http); });
    const auto probe = make(verified(peer.port(), "www.example"));
    EXPECT_EQ(text_of(ask(*probe)), "up: HTTP 200");
    server = &after;
    EXPECT_EQ(ask(*probe).finding, Finding::down);
    std::filesystem::rename(next.file("authority.pem"), authority_.file("authority.pem"));
    EXPECT_TRUE(turn_until([&] { return ask(*probe).finding == Finding::up; }));
}

// Certificate and key come one after the other: in between the old ones go on.
TEST_F(Tls, ARenewedCertificateIsTakenUpWithItsKey) {
    authority_.write(authority_.sign("DNS:old"), "client");
    authority_.write(authority_.sign("DNS:new"), "next");
    config::CheckTls settings;
    settings.set_certificate(authority_.file("client.pem"));
    settings.set_private_key(authority_.file("client.key"));
    TlsFiles files(settings, "");
    const TlsContext old = files.context();
    ASSERT_NE(old, nullptr);
    std::filesystem::rename(authority_.file("next.pem"), authority_.file("client.pem"));
    EXPECT_TRUE(turn_until([&] {
        EXPECT_EQ(files.context(), old);
        return !files.error().message.empty();
    }));
    EXPECT_THAT(files.error().message, HasSubstr("key values mismatch"));
    std::filesystem::rename(authority_.file("next.key"), authority_.file("client.key"));
    EXPECT_TRUE(turn_until([&] { return files.context() != old; }));
    EXPECT_EQ(files.error().message, "");
}

TEST_F(Tls, HandshakeAlone) {
    TlsServer server({authority_.sign("DNS:www.example")});
    const Peer peer(serving(server, [](SSL*) {}));
    EXPECT_EQ(text_of(ask(negotiate(config::CHECK_PROTOCOL_TLS, peer.port()))), "up: TLS handshake done");
}

TEST_F(Tls, OldVersionsAreRefused) {
    TlsServer server({authority_.sign("DNS:www.example"), {}, TLS1_1_VERSION});
    const Peer peer(serving(server));
    EXPECT_EQ(text_of(ask(https(peer.port()))), "down: TLS: the server speaks nothing newer than TLS 1.1");
}

TEST_F(Tls, WhatIsNotTls) {
    const auto ask_script = [&](Peer::Script script) {
        const Peer peer(std::move(script));
        return text_of(ask(https(peer.port())));
    };
    EXPECT_EQ(ask_script([](Connection& c) {
                  c.say("HTTP/1.1 400 Bad Request\r\n\r\n");
                  c.wait_for_close();
              }),
              "down: TLS: the server does not speak TLS here");
    EXPECT_THAT(ask_script([](Connection& c) {
                    (void)c.hear("\x01");
                    c.reset();
                }),
                StartsWith("down: TLS: connection reset by peer"));
    EXPECT_EQ(ask_script([](Connection& c) {
                  std::array<char, 1024> hello{};
                  (void)::recv(c.fd(), hello.data(), hello.size(), 0);
                  c.close();
              }),
              "down: TLS: the server closed the connection");
    EXPECT_THAT(ask_script([](Connection& c) {
                    while (c.say(std::string(8192, '\x16'))) {
                    }
                }),
                StartsWith("down: TLS: "));
}

TEST_F(Tls, HangingHandshakeIsStopped) {
    std::atomic<bool> greeted{false};
    const Peer peer([&](Connection& c) {
        std::array<char, 1024> hello{};
        (void)::recv(c.fd(), hello.data(), hello.size(), 0);
        greeted = true;
        c.wait_for_close();
    });
    const auto probe = make(https(peer.port()));
    probe->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    EXPECT_TRUE(turn_until([&] { return greeted.load(); }));
    EXPECT_EQ(probe->stop(), "TLS handshake");
}

TEST_F(Tls, ClosedInTheMiddle) {
    TlsServer server({authority_.sign("DNS:www.example")});
    const Peer peer(serving(server, [](SSL* ssl) {
        std::array<char, 4096> bytes{};
        (void)SSL_read(ssl, bytes.data(), bytes.size());
        (void)SSL_write(ssl, "HTTP/1.1 200", 12);
    }));
    EXPECT_EQ(text_of(ask(https(peer.port()))), "down: the server closed the connection in the header of its answer");
}

TEST_F(Tls, EndlessAnswer) {
    TlsServer server({authority_.sign("DNS:www.example")});
    const Peer peer(serving(server, [](SSL* ssl) {
        std::array<char, 4096> bytes{};
        (void)SSL_read(ssl, bytes.data(), bytes.size());
        const std::string header = "HTTP/1.1 200 OK\r\n\r\n";
        (void)SSL_write(ssl, header.data(), static_cast<int>(header.size()));
        bytes.fill('x');
        while (SSL_write(ssl, bytes.data(), bytes.size()) > 0) {
        }
    }));
    ProbeSpec spec = https(peer.port());
    spec.check.set_expect_text("needle");
    EXPECT_THAT(text_of(ask(spec)), HasSubstr("(64 KiB of it)"));
}

class StartTls : public Tls {
  protected:
    static ProbeSpec smtp(std::uint16_t port) {
        ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_SMTP, port);
        spec.check.mutable_tls()->set_starttls(true);
        return spec;
    }
    // Up to the consent, which `consent` is.
    static void until_consent(const Connection& c, std::string_view consent) {
        c.say("220 mail.example ESMTP\r\n");
        (void)c.hear("\r\n");
        c.say("250-mail.example\r\n250-STARTTLS\r\n250 HELP\r\n");
        (void)c.hear("STARTTLS\r\n");
        c.say(consent);
    }
};

TEST_F(StartTls, SwitchesAndGoesOn) {
    TlsServer server({authority_.sign("DNS:mail.example")});
    std::string heard;
    const Peer peer([&](Connection& c) {
        until_consent(c, "220 Go ahead\r\n");
        (void)server.serve(c, [&](SSL* ssl) {
            std::array<char, 4096> bytes{};
            for (const char* answer : {"250-mail.example\r\n250 HELP\r\n", "221 Bye\r\n"}) {
                const int got = SSL_read(ssl, bytes.data(), bytes.size());
                if (got <= 0) return;
                heard.append(bytes.data(), static_cast<std::size_t>(got));
                (void)SSL_write(ssl, answer, static_cast<int>(std::strlen(answer)));
            }
        });
    });
    ProbeSpec spec = smtp(peer.port());
    spec.check.mutable_tls()->set_verify(true);
    spec.check.mutable_tls()->set_ca_file(authority_.file("authority.pem"));
    spec.check.mutable_tls()->set_server_name("mail.example");
    EXPECT_EQ(ask(spec).finding, Finding::up) << transcript_.text();
    EXPECT_THAT(heard, StartsWith("EHLO "));
    EXPECT_THAT(transcript_.text(), HasSubstr("> STARTTLS\n"));
    spec.check.mutable_tls()->set_server_name("www.example");
    EXPECT_EQ(text_of(ask(spec)), "down: TLS: certificate is for mail.example, wanted www.example");
}

TEST_F(StartTls, WordsBeforeTheHandshakeAreAnInjection) {
    const Peer together([](Connection& c) {
        until_consent(c, "220 Go ahead\r\n250 injected\r\n");
        c.wait_for_close();
    });
    EXPECT_EQ(text_of(ask(smtp(together.port()))), "down: server sent data before TLS (injection?)");
    // Later ones are met by the handshake.
    const Peer apart([](Connection& c) {
        until_consent(c, "220 Go ahead\r\n");
        (void)c.hear("\x01");
        c.say("250 injected\r\n");
        c.wait_for_close();
    });
    EXPECT_EQ(text_of(ask(smtp(apart.port()))), "down: TLS: the server does not speak TLS here");
}

}  // namespace
}  // namespace lbcluster::health::test

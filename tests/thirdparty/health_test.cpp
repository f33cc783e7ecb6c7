// HC-3: the protocols of `negotiate` against real servers of Debian: a good answer, a login, a wrong login, TLS.
#include "tests/thirdparty/server.hpp"

namespace lbcluster::thirdparty {
namespace {

using namespace std::string_literals;

const std::string al = " user: \"al\" password: \"s3cret\" ", wrong = " user: \"al\" password: \"wr0ng\" ";
const std::string starttls = " tls {starttls: true} ", in_tls = " tls {} ";

TEST_F(ThirdParty, Dovecot) {
    if (lacks("/usr/sbin/dovecot", "dovecot-imapd dovecot-pop3d")) return;
    make_certificate();
    folder_.make("mail", "nobody");
    const std::string conf = folder_.write(
        "dovecot.conf",
        "protocols = imap pop3\nlisten = 127.0.0.1\n"
        "base_dir = " +
            folder_ / "run" + "\nlog_path = /dev/stderr\nssl = yes\nssl_cert = <" + certificate_ + "\nssl_key = <" +
            key_ + "\ndisable_plaintext_auth = no\nmail_location = maildir:" + folder_ / "mail" +
            "\npassdb {\n  driver = static\n  args = password=s3cret\n}\n"
            "userdb {\n  driver = static\n  args = uid=nobody gid=nogroup home=" +
            folder_ / "mail" + "\n}\n");
    start({"/usr/sbin/dovecot", "-F", "-c", conf});
    expect("protocol: IMAP", 143, "up: IMAP: * OK*");
    expect("protocol: IMAP" + al, 143, "up: IMAP: * OK*");
    expect("protocol: IMAP user: \"al\" password: \"s3\\303\\266\"", 143,
           "down: IMAP LOGIN: a2 NO [AUTHENTICATIONFAILED]*");
    expect("protocol: IMAP" + wrong, 143, "down: IMAP LOGIN: a2 NO [AUTHENTICATIONFAILED]*");
    expect("protocol: IMAP" + al + starttls, 143, "up: IMAP: * OK*");
    expect("protocol: IMAP" + al + in_tls, 993, "up: IMAP: * OK*");
    expect("protocol: POP3", 110, "up: POP3: +OK*");
    expect("protocol: POP3" + al, 110, "up: POP3: +OK*");
    expect("protocol: POP3" + wrong, 110, "down: POP3 PASS: -ERR [AUTH]*");
    expect("protocol: POP3" + al + starttls, 110, "up: POP3: +OK*");
    expect("protocol: POP3" + al + in_tls, 995, "up: POP3: +OK*");
    expect("protocol: SMTP", 110, "down: SMTP: not SMTP: \"+OK*");
}

// HC-2, HC-7
TEST_F(ThirdParty, Nginx) {
    if (lacks("/usr/sbin/nginx", "nginx-light")) return;
    make_certificate();
    folder_.make("temp", "nobody");
    const std::string temp = folder_ / "temp";
    const auto serve = [&](const std::string& more) { return "server { listen 127.0.0.1:" + more + " }\n"; };
    const std::string tls = " ssl; ssl_certificate " + certificate_ + "; ssl_certificate_key " + key_ + ";";
    const std::string health = " location = /health { return 200 'all is well, version 12\\n'; }";
    const std::string conf = folder_.write(
        "nginx.conf",
        "daemon off;\nmaster_process off;\npid " + folder_ / "pid" + ";\nerror_log stderr;\nevents {}\nhttp {\n" +
            "access_log off; client_body_temp_path " + temp + "; proxy_temp_path " + temp + "; fastcgi_temp_path " +
            temp + "; uwsgi_temp_path " + temp + "; scgi_temp_path " + temp + ";\n" +
            serve("80; server_name www.example;" + health +
                  " location = /passive { return 503; } location = /gone { return 301 /; }"
                  " location = /private { if ($http_authorization != 'Bearer 1') { return 401; } return 204; }") +
            serve("443" + tls + health) + "}\n");
    start({"/usr/sbin/nginx", "-e", "stderr", "-c", conf});
    const std::string http = "protocol: HTTP host: \"www.example\" ";
    expect(http + "request: \"/health\"", 80, "up: HTTP 200");
    expect(http + "request: \"/health\" method: HTTP_METHOD_HEAD", 80, "up: HTTP 200");
    expect(http + "request: \"/health\" expect_text: \"all is well\"", 80, "up: HTTP 200*");
    expect(http + "request: \"/health\" expect_regex: \"version [0-9]+\"", 80, "up: HTTP 200*");
    expect(http + "request: \"/health\" expect_text: \"on fire\"", 80, "down: *on fire*");
    expect(http + "request: \"/none\"", 80, "down: HTTP 404, wanted 200-399");
    expect(http + "request: \"/gone\" expect_status: 200", 80, "down: HTTP 301, wanted 200");
    expect(http + "request: \"/passive\" expect_status: 200 standby_status: 503", 80, "standby: HTTP 503*");
    expect(http + "request: \"/private\"", 80, "down: HTTP 401*");
    expect(http + "request: \"/private\" headers {key: \"Authorization\" value: \"Bearer 1\"}", 80, "up: HTTP 204");
    const std::string https = "protocol: HTTPS request: \"/health\" ";
    expect(https + "tls {}", 443, "up: HTTP 200");
    expect(https + "tls {verify: true ca_file: \"" + certificate_ + "\" server_name: \"localhost\"}", 443,
           "up: HTTP 200");
    expect(https + "tls {verify: true ca_file: \"" + certificate_ + "\" server_name: \"www.example\"}", 443,
           "down: TLS: certificate is for localhost, wanted www.example");
    expect(https + "tls {verify: true}", 443, "down: TLS: self-signed certificate");
    expect("protocol: TLS", 443, "up: TLS handshake done");
    expect("protocol: HTTP request: \"/health\"", 443, "down: HTTP 400*");
    expect(https + "tls {}", 80, "down: TLS: the server does not speak TLS here");
}

TEST_F(ThirdParty, Postfix) {
    if (lacks("/usr/sbin/postfix", "postfix") || lacks("/usr/sbin/dovecot", "dovecot-imapd")) return;
    make_certificate();
    folder_.make("postfix/data", "postfix");
    folder_.make("postfix/queue");
    const std::string sasl = folder_ / "sasl";
    // Dovecot knows the passwords.
    start({"/usr/sbin/dovecot", "-F", "-c",
           folder_.write("dovecot.conf", "protocols =\nbase_dir = " + folder_ / "run" +
                                             "\nlog_path = /dev/stderr\nssl = no\nauth_mechanisms = plain "
                                             "login\npassdb {\n  driver = static\n  args = password=s3cret\n}\n"
                                             "userdb {\n  driver = static\n  args = uid=nobody gid=nogroup home=/\n}\n"
                                             "service auth {\n  unix_listener " +
                                             sasl + " {\n    mode = 0666\n  }\n}\n")});
    folder_.write("postfix/main.cf",
                  "compatibility_level = 3.6\nqueue_directory = " + folder_ / "postfix/queue" +
                      "\ndata_directory = " + folder_ / "postfix/data" +
                      "\nmyhostname = mx.example\ninet_interfaces = 127.0.0.1\n"
                      "inet_protocols = ipv4\nalias_maps =\nalias_database =\nmaillog_file = "
                      "/dev/stdout\nsmtpd_tls_security_level = may\n"
                      "smtpd_tls_cert_file = " +
                      certificate_ + "\nsmtpd_tls_key_file = " + key_ +
                      "\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = " + sasl +
                      "\nsmtpd_tls_auth_only = no\n");
    folder_.write(
        "postfix/master.cf",
        "smtp inet n - n - - smtpd\nsmtps inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
        "login inet n - n - - smtpd -o smtpd_sasl_mechanism_filter=login\n"
        "postlog unix-dgram n - n - 1 postlogd\nrewrite unix - - n - - trivial-rewrite\nanvil unix - - n - 1 anvil\n"
        "tlsmgr unix - - n 1000? 1 tlsmgr\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n "
        "- n 300 1 qmgr\n"
        "proxymap unix - - n - - proxymap\n");
    start({"/usr/sbin/postfix", "-c", folder_ / "postfix", "start-fg"});
    expect("protocol: SMTP expect_text: \"mx.example\"", 25, "up: SMTP: 220 mx.example ESMTP*");
    expect("protocol: SMTP" + starttls, 25, "up: SMTP: 220*");
    expect("protocol: SMTP" + al + starttls, 25, "up: SMTP: 220*");
    expect("protocol: SMTP" + wrong, 25, "down: SMTP AUTH: 535 5.7.8*");
    expect("protocol: SMTP" + al + in_tls, 465, "up: SMTP: 220*");
    expect("protocol: SMTP" + al, 513, "up: SMTP: 220*");  // AUTH LOGIN only
    expect("protocol: SMTP tls {starttls: true verify: true server_name: \"localhost\"}", 25, "down: TLS: *");
}

TEST_F(ThirdParty, Vsftpd) {
    if (lacks("/usr/sbin/vsftpd", "vsftpd")) return;
    make_certificate();
    folder_.make("empty");
    const std::string conf = folder_.write(
        "vsftpd.conf",
        "listen=YES\nlisten_address=127.0.0.1\nbackground=NO\nanonymous_enable=YES\n"
        "anon_root=" +
            folder_ / "empty" + "\nsecure_chroot_dir=" + folder_ / "empty" +
            "\nftpd_banner=here\nssl_enable=YES\n"
            "allow_anon_ssl=YES\nforce_local_logins_ssl=NO\nforce_local_data_ssl=NO\nrequire_ssl_reuse=NO\n"
            "rsa_cert_file=" +
            certificate_ + "\nrsa_private_key_file=" + key_ + "\nseccomp_sandbox=NO\n");
    start({"/usr/sbin/vsftpd", conf});
    expect("protocol: FTP", 21, "up: FTP: 220 here");
    expect("protocol: FTP user: \"anonymous\" password: \"x\"", 21, "up: FTP: 220 here");
    expect("protocol: FTP user: \"anonymous\" password: \"x\"" + starttls, 21, "up: FTP: 220 here");
    expect("protocol: FTP" + wrong, 21, "down: FTP *");
}

TEST_F(ThirdParty, Slapd) {
    if (lacks("/usr/sbin/slapd", "slapd") || lacks("/usr/bin/ldapadd", "ldap-utils")) return;
    make_certificate();
    folder_.make("db");
    const std::string conf = folder_.write(
        "slapd.conf",
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        "TLSCertificateFile " +
            certificate_ + "\nTLSCertificateKeyFile " + key_ + "\npidfile " + folder_ / "pid" +
            "\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example\nrootdn cn=al,dc=example\nrootpw s3cret\ndirectory " +
            folder_ / "db" + "\n");
    const std::string ldif = folder_.write(
        "base.ldif", "dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n");
    start({"/usr/sbin/slapd", "-d", "256", "-h", "ldap://127.0.0.1:389 ldaps://127.0.0.1:636", "-f", conf});
    const std::string user = " user: \"cn=al,dc=example\" password: ", base = " request: \"dc=example\" ";
    expect("protocol: LDAP", 389, "up: LDAP bind: success");
    lab::must_run(nullptr,
                  {"ldapadd", "-x", "-H", "ldap://127.0.0.1", "-D", "cn=al,dc=example", "-w", "s3cret", "-f", ldif});
    expect("protocol: LDAP" + user + "\"s3cret\"" + base, 389, "up: LDAP search: found dc=example");
    expect("protocol: LDAP" + user + "\"wr0ng\"", 389, "down: LDAP bind: invalidCredentials (49)");
    expect("protocol: LDAP request: \"dc=other\"", 389, "down: LDAP search: *");
    expect("protocol: LDAP request: \"=x\"", 389, "down: LDAP search: invalidDNSyntax (34)*");
    expect("protocol: LDAP" + user + "\"s3cret\"" + starttls + base, 389, "up: LDAP search: found dc=example");
    expect("protocol: LDAP" + base + in_tls, 636, "up: LDAP search: found dc=example");
}

TEST_F(ThirdParty, Unbound) {
    if (lacks("/usr/sbin/unbound", "unbound")) return;
    const std::string conf = folder_.write(
        "unbound.conf",
        "server:\n  interface: 127.0.0.1\n  do-daemonize: no\n  username: \"\"\n"
        "  chroot: \"\"\n  directory: \"" +
            folder_.path() +
            "\"\n  pidfile: \"\"\n  use-syslog: no\n  module-config: \"iterator\"\n"
            "  local-zone: \".\" static\n  local-data: \". NS a.root-servers.net.\"\n"
            "  local-data: \"www.example.org A 192.0.2.1\"\n  local-data: \"www.example.org AAAA 2001:db8::1\"\n"
            "  local-data: \"example.org MX 10 mx.example.org\"\n  local-data: 'example.org TXT \"v=1\" "
            "\"x\"'\nremote-control:\n  control-enable: no\n");
    start({"/usr/sbin/unbound", "-d", "-c", conf});
    expect("protocol: DNS", 53, "up: DNS: 1 records for NS of .");
    expect("protocol: DNS request: \"www.example.org\" expect_text: \"www.example.org A 192.0.2.1\"", 53,
           "up: DNS: 1 records*");
    expect("protocol: DNS request: \"www.example.org AAAA\" expect_regex: \"AAAA 2001:db8::1$\"", 53,
           "down: DNS: the answer does*");
    expect("protocol: DNS request: \"www.example.org AAAA\" expect_regex: \"(?m)AAAA 2001:db8::1$\"", 53,
           "up: DNS: 1 records*");
    expect("protocol: DNS request: \"example.org MX\" expect_text: \"MX 10 mx.example.org\"", 53,
           "up: DNS: 1 records*");
    expect("protocol: DNS request: \"example.org TXT\" expect_text: \"TXT v=1x\"", 53, "up: DNS: 1 records*");
    expect("protocol: DNS request: \"www.example.org MX\"", 53, "down: DNS: no MX of www.example.org");
    expect("protocol: DNS request: \"nobody.example.org\"", 53, "down: DNS: NXDOMAIN for A of nobody.example.org");
}

TEST_F(ThirdParty, MariaDb) {
    if (lacks("/usr/sbin/mariadbd", "mariadb-server")) return;
    make_certificate("mysql");
    const std::string data = folder_.make("data", "mysql");
    lab::must_run(nullptr, {"mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=" + data,
                            "--auth-root-authentication-method=normal", "--skip-test-db"});
    const std::string init = folder_.write(
        "init.sql",
        "CREATE DATABASE shop;\nCREATE USER al@'%' IDENTIFIED BY 's3cret';\nGRANT ALL ON shop.* TO al@'%';\n"
        "CREATE USER edie@'%' IDENTIFIED VIA unix_socket;\n");
    start({"/usr/sbin/mariadbd", "--no-defaults", "--user=mysql", "--datadir=" + data, "--socket=" + data + "/sock",
           "--bind-address=127.0.0.1", "--port=3306", "--max-connect-errors=3", "--init-file=" + init,
           "--ssl-cert=" + certificate_, "--ssl-key=" + key_, "--skip-name-resolve"});
    // More often than max_connect_errors: we are not blocked.
    for (int i = 0; i < 6; ++i) expect("protocol: MYSQL", 3306, "up: MySQL: *");
    expect("protocol: MYSQL database: \"shop\"" + al, 3306, "up: MySQL: *, logged in");
    expect("protocol: MYSQL database: \"shop\"" + al + starttls, 3306, "up: MySQL: *, logged in");
    expect("protocol: MYSQL" + starttls, 3306, "up: MySQL: *");
    expect("protocol: MYSQL" + wrong, 3306, "down: MySQL: 1045 Access denied for user 'al'*");
    expect("protocol: MYSQL database: \"other\"" + al, 3306, "down: MySQL: 1044 Access denied*");
    expect("protocol: MYSQL user: \"edie\" password: \"x\"", 3306, "down: MySQL: *");
}

TEST_F(ThirdParty, Postgresql) {
    const std::string programs = "/usr/lib/postgresql/15/bin/";
    if (lacks(programs + "postgres", "postgresql")) return;
    make_certificate("postgres");
    const std::string data = folder_.make("data", "postgres");
    const std::vector<std::string> as_postgres{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"};
    const auto run = [&](std::vector<std::string> argv) {
        argv.insert(argv.begin(), as_postgres.begin(), as_postgres.end());
        return argv;
    };
    lab::must_run(nullptr, run({programs + "initdb", "-D", data, "-U", "postgres", "-A", "trust"}));
    folder_.write(
        "data/pg_hba.conf",
        "local all all trust\nhost all al all scram-sha-256\nhost all olga all md5\nhost all clara all password\n");
    start(run({programs + "postgres", "-D", data, "-h", "127.0.0.1", "-k", data, "-c", "ssl=on", "-c",
               "ssl_cert_file=" + certificate_, "-c", "ssl_key_file=" + key_, "-c", "fsync=off"}));
    expect("protocol: POSTGRESQL", 5432, "up: PostgreSQL: 28000 no pg_hba.conf entry*");
    lab::must_run(nullptr,
                  run({programs + "psql", "-h", data, "-U", "postgres", "-c", "CREATE ROLE al LOGIN PASSWORD 's3cret'",
                       "-c", "CREATE ROLE clara LOGIN PASSWORD 's3cret'", "-c", "SET password_encryption = md5", "-c",
                       "CREATE ROLE olga LOGIN PASSWORD 's3cret'", "-c", "CREATE DATABASE shop"}));
    const std::string shop = " database: \"shop\" ";
    expect("protocol: POSTGRESQL" + al + shop, 5432, "up: PostgreSQL: logged in");
    expect("protocol: POSTGRESQL user: \"olga\" password: \"s3cret\"" + shop, 5432, "up: PostgreSQL: logged in");
    expect("protocol: POSTGRESQL user: \"clara\" password: \"s3cret\"" + shop, 5432, "up: PostgreSQL: logged in");
    expect("protocol: POSTGRESQL" + al + shop + starttls, 5432, "up: PostgreSQL: logged in");
    expect("protocol: POSTGRESQL" + wrong + shop, 5432,
           "down: PostgreSQL: 28P01 password authentication failed for user \\\"al\\\"");
    expect("protocol: POSTGRESQL database: \"other\"" + al, 5432,
           "down: PostgreSQL: 3D000 database \\\"other\\\" does not exist");
}

TEST_F(ThirdParty, Redis) {
    if (lacks("/usr/bin/redis-server", "redis-server")) return;
    make_certificate();
    start(
        {"/usr/bin/redis-server",
         folder_.write("redis.conf", "port 6379\nbind 127.0.0.1\nrequirepass s3cret\nsave \"\"\ndir " + folder_.path() +
                                         "\ntls-port 6380\ntls-auth-clients no\ntls-cert-file " + certificate_ +
                                         "\ntls-key-file " + key_ + "\nuser al on >s3cret ~* +@all\n")});
    expect("protocol: REDIS", 6379, "down: Redis PING: -NOAUTH Authentication required., wanted +PONG");
    expect("protocol: REDIS password: \"s3cret\"", 6379, "up: Redis: +OK");
    expect("protocol: REDIS" + al, 6379, "up: Redis: +OK");
    expect("protocol: REDIS" + wrong, 6379, "down: Redis AUTH: -WRONGPASS*");
    expect("protocol: REDIS expect_text: \"role:master\"" + al + in_tls, 6380, "up: Redis: +OK");
    expect("protocol: REDIS expect_regex: \"role:slave\"" + al, 6379, "down: Redis INFO: the answer does not match*");
}

TEST_F(ThirdParty, FreeRadius) {
    if (lacks("/usr/sbin/freeradius", "freeradius")) return;
    lab::must_run(nullptr, {"cp", "-a", "/etc/freeradius/3.0", folder_ / "raddb"});
    for (const char* part : {"mods-enabled/eap", "sites-enabled/default", "sites-enabled/inner-tunnel"}) {
        lab::must_run(nullptr, {"rm", folder_ / ("raddb/"s + part)});
    }
    folder_.write(
        "raddb/sites-enabled/test",
        "server default {\n  listen {\n    type = auth\n    ipaddr = 127.0.0.1\n    port = 1812\n  }\n"
        "  authorize {\n    files\n    pap\n  }\n  authenticate {\n    Auth-Type PAP {\n      pap\n    }\n  }\n}\n");
    folder_.write("raddb/mods-config/files/authorize",
                  "al Cleartext-Password := \"s3cret\"\n    Reply-Message = \"welcome\"\n");
    start({"/usr/sbin/freeradius", "-fxx", "-l", "stdout", "-d", folder_ / "raddb"});
    const std::string secret = " secret: \"testing123\" ";
    expect("protocol: RADIUS" + secret, 1812, "up: RADIUS: Access-Accept*");
    expect("protocol: RADIUS" + secret + al, 1812, "up: RADIUS: Access-Accept: welcome");
    expect("protocol: RADIUS" + secret + wrong, 1812, "down: RADIUS: Access-Reject, wanted Access-Accept*");
}

TEST_F(ThirdParty, Kamailio) {
    if (lacks("/usr/sbin/kamailio", "kamailio")) return;
    const std::string conf =
        folder_.write("kamailio.cfg",
                      "#!KAMAILIO\nlisten=udp:127.0.0.1:5060\nlisten=tcp:127.0.0.1:5060\nchildren=1\n"
                      "tcp_children=1\nlog_stderror=yes\nloadmodule \"sl.so\"\nrequest_route {\n"
                      "  if (uri =~ \"busy\") { sl_send_reply(\"486\", \"Busy Here\"); exit; }\n"
                      "  sl_send_reply(\"200\", \"Fine\");\n}\n");
    start({"/usr/sbin/kamailio", "-DD", "-E", "-w", folder_.path(), "-Y", folder_.path(), "-P", folder_ / "pid", "-f",
           conf});
    expect("protocol: SIP", 5060, "up: SIP: 200 Fine");
    expect("protocol: SIP request: \"sip:127.0.0.1;transport=tcp\"", 5060, "up: SIP: 200 Fine");
    expect("protocol: SIP request: \"sip:busy@127.0.0.1\"", 5060, "down: SIP: 486 Busy Here, wanted 200");
    expect("protocol: SIP request: \"sip:busy@127.0.0.1\" expect_status: 486", 5060, "up: SIP: 486 Busy Here");
}

TEST_F(ThirdParty, Sshd) {
    if (lacks("/usr/sbin/sshd", "openssh-server")) return;
    lab::must_run(nullptr, {"mkdir", "-p", "/run/sshd"});  // this test's own /run
    lab::must_run(nullptr, {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder_ / "host"});
    start(
        {"/usr/sbin/sshd", "-D", "-e", "-f",
         folder_.write("sshd_config", "ListenAddress 127.0.0.1:22\nHostKey " + folder_ / "host" + "\nPidFile none\n")});
    expect("protocol: TCP expect: \"SSH-2.0-\"", 22, "up: TCP: \"SSH-2.0-OpenSSH*");
    expect("protocol: TCP expect_regex: \"^SSH-1\" send: \"hello\\\\r\\\\n\"", 22,
           "down: TCP: the answer does not match*");
}

// Debian's server of gRPC; the health service is two bytes long, so it is written here.
TEST_F(ThirdParty, Grpc) {
    if (lacks("/usr/lib/python3/dist-packages/grpc/__init__.py", "python3-grpcio")) return;
    make_certificate();
    const std::string program = folder_.write("server.py", R"(
import grpc, sys
from concurrent import futures
answers = {b"": b"\x08\x01", b"\x0a\x04shop": b"\x08\x02"}
def check(request, context):
    if request not in answers:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return answers[request]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
if len(sys.argv) < 4:
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
    server.add_insecure_port("127.0.0.1:50051")
    keys = [(open(sys.argv[2], "rb").read(), open(sys.argv[1], "rb").read())]
    server.add_secure_port("127.0.0.1:50052", grpc.ssl_server_credentials(keys))
else:
    server.add_insecure_port("127.0.0.1:50053")
server.start()
server.wait_for_termination()
)");
    start({"/usr/bin/python3", program, certificate_, key_});
    start({"/usr/bin/python3", program, certificate_, key_, "without"});
    expect("protocol: GRPC", 50051, "up: gRPC: SERVING");
    expect("protocol: GRPC" + in_tls, 50052, "up: gRPC: SERVING");
    expect("protocol: GRPC request: \"shop\"", 50051, "down: gRPC: NOT_SERVING, wanted SERVING");
    expect("protocol: GRPC request: \"other\"", 50051,
           "down: gRPC: NOT_FOUND (5): the server does not know the service \"other\"");
    expect("protocol: GRPC", 50053, "down: gRPC: UNIMPLEMENTED (12): the server has no health service*");
}

}  // namespace
}  // namespace lbcluster::thirdparty

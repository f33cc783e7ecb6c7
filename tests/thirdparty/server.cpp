#include "tests/thirdparty/server.hpp"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace lbcluster::thirdparty {

using namespace std::chrono_literals;

namespace {

// A star in `wanted` is any text.
bool is_like(std::string_view text, std::string_view wanted) {
    const auto star = wanted.find('*');
    if (star == std::string_view::npos) return text == wanted;
    if (!text.starts_with(wanted.substr(0, star))) return false;
    wanted.remove_prefix(star + 1);
    for (text.remove_prefix(star);; text.remove_prefix(1)) {
        if (is_like(text, wanted)) return true;
        if (text.empty()) return false;
    }
}

}  // namespace

Folder::Folder() {
    std::string path = "/tmp/lbcluster-thirdparty-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) lab::fail_errno("mkdtemp");
    path_ = path;
    ::chmod(path_.c_str(), 0755);
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string Folder::write(const std::string& name, const std::string& text) const {
    lab::write_file(*this / name, text);
    return *this / name;
}

std::string Folder::make(const std::string& name, const std::string& owner) const {
    std::filesystem::create_directories(*this / name);
    const passwd* user = ::getpwnam(owner.c_str());
    if (user == nullptr) lab::fail("no user " + owner);
    if (::chown((*this / name).c_str(), user->pw_uid, user->pw_gid) != 0) lab::fail_errno("chown");
    return *this / name;
}

Program::Program(const Folder& folder, std::vector<std::string> argv)
    : log_path_(folder / (std::filesystem::path(argv.at(0)).filename().string() + ".log")) {
    const int log = ::open(log_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log < 0) lab::fail_errno("open " + log_path_);
    pid_ = lab::spawn(nullptr, {.argv = std::move(argv), .out = log, .err = log});
    ::close(log);
}

bool Program::runs() {
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
}

Program::~Program() {
    if (!runs()) return;
    // SIGTERM lets a server end its children; SIGKILL if it does not obey.
    ::kill(pid_, SIGTERM);
    if (!lab::wait_until([&] { return !runs(); }, 10s)) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

std::string Program::log() const {
    const std::string text = lab::read_file(log_path_);
    constexpr std::size_t shown_max = 3000;
    return text.size() > shown_max ? text.substr(text.size() - shown_max) : text;
}

void ThirdParty::SetUp() {
    if (std::getenv("LBCLUSTER_FULL") == nullptr) GTEST_SKIP() << "only with LBCLUSTER_FULL=1";
    lab::must_run(nullptr, {"ip", "link", "set", "lo", "up"});
}

bool ThirdParty::lacks(const std::string& program, const std::string& package) {
    if (std::filesystem::exists(program)) return false;
    [&] { GTEST_SKIP() << program << " is not here: apt-get install " << package; }();
    return true;
}

void ThirdParty::make_certificate(const std::string& owner) {
    certificate_ = folder_ / "cert.pem";
    key_ = folder_ / "key.pem";
    lab::must_run(nullptr, {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2",
                            "-keyout", key_, "-out", certificate_});
    lab::must_run(nullptr, {"chown", owner + ":", key_});
    ::chmod(key_.c_str(), 0600);
}

std::string ThirdParty::ask(const std::string& text, std::uint16_t port) {
    std::string check = text;
    const std::string key = "protocol: ";
    check.insert(check.find(key) + key.size(), "CHECK_PROTOCOL_");
    health::ProbeSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(check, &spec.check)) << check;
    spec.check.set_type(config::CHECK_TYPE_NEGOTIATE);
    spec.address = IpAddress::v4({127, 0, 0, 1});
    spec.port = port;
    auto probe = factory_.make(spec);
    if (!probe) return "error: " + probe.error().message;
    std::string result;
    (*probe)->start([&](const health::Outcome& outcome) {
        using health::Finding;
        result = outcome.finding == Finding::up        ? "up: "
                 : outcome.finding == Finding::down    ? "down: "
                 : outcome.finding == Finding::standby ? "standby: "
                                                       : "unusable: ";
        result += outcome.reason;
    });
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (result.empty() && std::chrono::steady_clock::now() < end) {
        io_.restart();
        io_.run_one_for(20ms);
    }
    if (result.empty()) result = "waiting for " + (*probe)->stop();
    return result;
}

void ThirdParty::expect(const std::string& check, std::uint16_t port, const std::string& wanted) {
    if (HasFailure()) return;  // the first one says why
    std::string result;
    const auto fits = [&] {
        result = ask(check, port);
        return is_like(result, wanted);
    };
    const auto all_run = [&] {
        return std::all_of(programs_.begin(), programs_.end(), [](const auto& program) { return program->runs(); });
    };
    bool good = false;
    lab::wait_until([&] { return (good = fits()) || !all_run(); }, 30s, 100ms);
    if (good) return;
    std::string logs;
    for (const auto& program : programs_) logs += program->log();
    ADD_FAILURE() << check << "\n  got: " << result << "\nwanted: " << wanted << "\n" << logs;
}

}  // namespace lbcluster::thirdparty

// lbcluster support-bundle FILE: what somebody needs to help, in one .tar.gz, secrets masked (OP-4). Needs no daemon:
// what could not be had stands in `missing.txt` of the bundle. Our own commands are run as a user runs them, each
// within a time and a size.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "capture.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/store.hpp"
#include "lib/config/redact.hpp"

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto whole_time = 90s;
constexpr std::size_t file_bytes_max = 4UL * 1024 * 1024;
constexpr std::size_t bundle_bytes_max = 64UL * 1024 * 1024;  // before it is packed
constexpr int diffs_max = 5;
constexpr std::array daemons{"heartbeatd", "healthd", "forwarderd", "replicatord"};

std::string now_text() {
    const std::time_t now = ::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::array<char, 32> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &utc)};
}

// The archive that is being written. The first error stays.
class Tar {
  public:
    Tar(int fd, std::string folder) : folder_(std::move(folder)), archive_(::archive_write_new()) {
        ::archive_write_add_filter_gzip(archive_);
        ::archive_write_set_format_pax_restricted(archive_);
        check(::archive_write_open_fd(archive_, fd));
    }
    ~Tar() { ::archive_write_free(archive_); }
    Tar(const Tar&) = delete;
    Tar& operator=(const Tar&) = delete;

    void add(const std::string& name, const std::string& bytes) {
        archive_entry* entry = ::archive_entry_new();
        ::archive_entry_set_pathname(entry, (folder_ + "/" + name).c_str());
        ::archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
        ::archive_entry_set_filetype(entry, AE_IFREG);
        ::archive_entry_set_perm(entry, 0600);
        ::archive_entry_set_mtime(entry, ::time(nullptr), 0);
        if (check(::archive_write_header(archive_, entry)) &&
            ::archive_write_data(archive_, bytes.data(), bytes.size()) < 0) {
            check(ARCHIVE_FATAL);
        }
        ::archive_entry_free(entry);
    }
    Result<void> close() {
        check(::archive_write_close(archive_));
        return error_.empty() ? Result<void>{} : Error{error_, "is there space left?", EIO};
    }

  private:
    bool check(int result) {
        if (result >= ARCHIVE_WARN || !error_.empty()) return error_.empty();
        const char* text = ::archive_error_string(archive_);
        error_ = text != nullptr ? text : "cannot write the archive";
        return false;
    }

    std::string folder_;
    archive* archive_;
    std::string error_;
};

struct Missing {
    std::string name;
    std::string why;
};

class Bundle {
  public:
    Bundle(const Context& context, Tar& tar) : paths_(context.paths), tar_(tar) {}

    void collect() {
        learn_secrets();
        own_commands();
        configuration();
        node_facts();
        kernel_facts();
        for (const char* daemon : daemons) process(daemon);
        haproxy();
        logs();
        std::string list;
        for (const Missing& one : missing_) list += one.name + ": " + one.why + "\n";
        tar_.add("missing.txt", list.empty() ? "Nothing is missing.\n" : redactor_.known(list));
        ++files_;
    }
    [[nodiscard]] const std::vector<Missing>& missing() const { return missing_; }
    [[nodiscard]] int files() const { return files_; }

  private:
    // `text` is for whatever is not named. `known`, only what is known to be a secret, is for what our own programs
    // have masked, and what must stay JSON.
    enum class Masking { text, yaml, known };

    // Of what is in force here and on the peer, of all that is kept, and of the keys.
    void learn_secrets() {
        std::error_code none;
        for (const auto& file : fs::directory_iterator(paths_.keys_dir(), none)) {
            if (auto text = tail_of(file.path(), file_bytes_max)) redactor_.add_key_file(*text);
        }
        std::vector<std::string> folders{paths_.config_dir};
        for (const std::string& parent : {paths_.state_dir, paths_.revisions_dir()}) {
            for (const auto& entry : fs::directory_iterator(parent, none)) folders.push_back(entry.path());
        }
        for (const std::string& folder : folders) {
            if (const auto text = config::read_text(folder + "/cluster.yaml")) redactor_.add_cluster(*text);
            for (const auto& file : fs::directory_iterator(folder + "/files/haproxy", none)) {
                if (const auto text = config::read_text(file.path())) redactor_.add_haproxy(*text);
            }
        }
    }

    void add(const std::string& name, const Result<std::string>& text, Masking masking) {
        if (!text) {
            missing_.push_back({name, text.error().message});
            return;
        }
        if (bytes_ + text->size() > bundle_bytes_max) {
            missing_.push_back({name, "the bundle is large enough without it"});
            return;
        }
        bytes_ += text->size();
        ++files_;
        tar_.add(name, masking == Masking::known  ? redactor_.known(*text)
                       : masking == Masking::text ? redactor_.text(*text)
                                                  : redactor_.yaml(*text));
    }

    void run(const std::string& name, const std::vector<std::string>& arguments, Masking masking = Masking::text,
             Limits limits = {}) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until_ - Clock::now());
        limits.time = std::min(limits.time, left);
        if (left <= 0ms) {
            missing_.push_back({name, "there was no time left for it"});
            return;
        }
        add(name, capture(arguments, limits), masking);
    }

    void file(const std::string& name, const std::string& path, Masking masking = Masking::text) {
        add(name, tail_of(path, file_bytes_max), masking);
    }

    void own(const std::string& name, std::vector<std::string> words, Masking masking = Masking::text,
             Limits limits = {}) {
        std::vector<std::string> arguments{"/proc/self/exe", "--config-dir", paths_.config_dir, "--run-dir",
                                           paths_.run_dir,   "--state-dir",  paths_.state_dir};
        arguments.insert(arguments.end(), words.begin(), words.end());
        run("lbcluster/" + name, arguments, masking, limits);
    }

    void own_commands() {
        own("version.txt", {"--version"});
        own("status.txt", {"status"}, Masking::known);
        own("status.json", {"status", "--json"}, Masking::known);
        own("events.txt", {"events"}, Masking::known);
        own("config-check.txt", {"config", "check"});
        own("config-show.txt", {"config", "show"});
        own("config-history.txt", {"config", "history"});
        own("config-diff.txt", {"config", "diff"});
        int diffs = 0;
        for (const config::Revision& one : config::history(paths_)) {
            if (++diffs > diffs_max) break;
            const std::string number = std::to_string(one.number());
            own("config-diff-since-" + number + ".txt", {"config", "diff", number});
        }
        own("config-diff-peer.txt", {"config", "diff", "--peer"});
        own("floating-ips.txt", {"floating-ip", "list"});
        own("key-fingerprint.txt", {"key", "fingerprint"}, Masking::known);
        own("connections.txt", {"connections", "--limit", "200"});
        own("diagnose.txt", {"diagnose"}, Masking::known, {.time = 30s});
    }

    void configuration() {
        file("config/node.yaml", paths_.node_file(), Masking::yaml);
        file("config/cluster.yaml", paths_.cluster_file(), Masking::yaml);
        if (::access((paths_.state_dir + "/applied").c_str(), F_OK) == 0) {
            file("config/applied-cluster.yaml", paths_.state_dir + "/applied/cluster.yaml", Masking::yaml);
        }
        // Names, sizes and modes; no content, as certificates' keys are in there.
        run("config/files.txt", {"ls", "-lAR", paths_.config_dir});
        run("state/files.txt", {"ls", "-lAR", paths_.state_dir});
        run("state/run.txt", {"ls", "-lAR", paths_.run_dir});
        std::error_code none;
        for (const auto& entry : fs::directory_iterator(paths_.state_dir, none)) {
            if (entry.path().extension() != ".jsonl") continue;
            file("state/" + entry.path().filename().string(), entry.path(), Masking::known);
        }
    }

    void node_facts() {
        run("node/uname.txt", {"uname", "-a"});
        file("node/os-release.txt", "/usr/lib/os-release");
        run("node/packages.txt", {"dpkg-query", "-W", "lbcluster*", "haproxy", "libprotobuf32", "linux-image*"});
        run("node/addresses.txt", {"ip", "-d", "address"});
        run("node/links.txt", {"ip", "-s", "-s", "link"});
        run("node/routes.txt", {"ip", "route", "show", "table", "all"});
        run("node/routes-v6.txt", {"ip", "-6", "route", "show", "table", "all"});
        run("node/rules.txt", {"ip", "rule"});
        run("node/neighbours.txt", {"ip", "neighbour"});
        run("node/sockets.txt", {"ss", "-tulpn"});
        run("node/nftables.txt", {"nft", "list", "ruleset"});
        run("node/disk.txt", {"df", "-h", paths_.state_dir, paths_.config_dir, paths_.run_dir});
        run("node/time.txt", {"date", "--utc", "+%FT%T.%NZ"});
        run("node/sysctls.txt",
            {"sysctl", "-a", "-r", R"(^net\.(ipv4\.(vs|conf|ip_forward|ip_nonlocal)|ipv6\.conf|netfilter))"},
            Masking::text, {.bytes = 1024UL * 1024});
        for (const char* name : {"uptime", "loadavg", "meminfo", "cpuinfo", "modules", "net/dev", "net/softnet_stat"}) {
            std::string flat = name;
            for (char& c : flat) c = c == '/' ? '-' : c;
            file("node/" + flat + ".txt", std::string("/proc/") + name);
        }
    }

    void kernel_facts() {
        for (const char* name : {"ip_vs", "ip_vs_stats"}) {
            file(std::string("kernel/") + name + ".txt", std::string("/proc/net/") + name);
        }
    }

    void process(const std::string& daemon) {
        const auto pid = listener_of(paths_.socket_of(daemon));
        if (!pid) {
            missing_.push_back({"daemons/" + daemon, pid.error().message});
            return;
        }
        const std::string folder = "/proc/" + std::to_string(*pid);
        const auto name_there = tail_of(folder + "/comm", 64);
        if (!name_there || *name_there != daemon + "\n") {  // in a container /proc may be another one's
            missing_.push_back({"daemons/" + daemon, "process " + std::to_string(*pid) + " is not it in /proc"});
            return;
        }
        for (const char* name : {"status", "limits", "sched", "cmdline"}) {
            file("daemons/" + daemon + "-" + name + ".txt", folder + "/" + name);
        }
    }

    void haproxy() {
        run("haproxy/version.txt", {"haproxy", "-vv"});
        file("haproxy/haproxy.cfg", paths_.run_dir + "/haproxy.cfg");
        file("haproxy/haproxy.log", paths_.run_dir + "/haproxy.log");
        for (const char* question : {"show stat", "show info", "show errors"}) {
            std::string name = question;
            name[name.find(' ')] = '-';
            auto answer = ask_socket(paths_.run_dir + "/haproxy.sock", std::string(question) + "\n", {.time = 5s});
            if (answer) answer = config::without_captured_bytes(*answer);
            add("haproxy/" + name + ".txt", answer, Masking::text);
        }
    }

    void logs() {
        if (::access("/run/systemd/system", F_OK) != 0) {
            missing_.push_back({"logs", "systemd does not run here: there is no journal"});
            return;
        }
        for (const char* daemon : daemons) {
            run(std::string("logs/") + daemon + ".txt",
                {"journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "5000", "-u", daemon}, Masking::text,
                {.bytes = file_bytes_max});
        }
        run("logs/units.txt",
            {"systemctl", "--no-pager", "status", "heartbeatd", "healthd", "forwarderd", "replicatord"}, Masking::text);
    }

    using Clock = std::chrono::steady_clock;
    config::Paths paths_;
    Tar& tar_;
    config::Redactor redactor_;
    std::vector<Missing> missing_;
    std::size_t bytes_ = 0;
    int files_ = 0;
    const Clock::time_point until_ = Clock::now() + whole_time;
};

void run(Context& context, const std::string& file) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        const int code = errno;
        const bool there = code == EEXIST;
        fail(context, there || code == EACCES ? exit_refused : exit_failed,
             {there ? file + " is there already" : "cannot write " + file + ": " + std::strerror(code),
              there ? "choose another name, or remove it" : "", code});
        return;
    }
    const auto loaded = config::load(context.paths, std::nullopt);
    const std::string node = loaded.node.config.node().empty() ? "unknown" : loaded.node.config.node();
    Tar tar(fd, "lbcluster-" + node + "-" + now_text());
    Bundle bundle(context, tar);
    bundle.collect();
    auto closed = tar.close();
    struct stat info{};
    if (closed && (::fsync(fd) != 0 || ::fstat(fd, &info) != 0)) {
        closed = Error{"cannot write " + file + ": " + std::strerror(errno), "is there space left?", errno};
    }
    ::close(fd);
    if (!closed) {
        ::unlink(file.c_str());
        fail(context, exit_failed, closed.error());
        return;
    }
    if (context.json) {
        Json missing = Json::array();
        for (const Missing& one : bundle.missing()) missing.push_back({{"name", one.name}, {"why", one.why}});
        return print_json({{"file", file}, {"bytes", info.st_size}, {"files", bundle.files()}, {"missing", missing}});
    }
    print(harmless(file) + ": " + std::to_string(bundle.files()) + " files, " +
          std::to_string(info.st_size / 1024 + 1) + " KiB. Secrets are masked; addresses and names are not.\n");
    for (const Missing& one : bundle.missing()) print("missing: " + harmless(one.name + ": " + one.why) + "\n");
}

}  // namespace

void register_support_bundle(CLI::App& app, Context& context) {
    auto file = std::make_shared<std::string>();
    auto* command =
        app.add_subcommand("support-bundle", "What somebody needs to help, in one file; secrets are masked");
    command->add_option("FILE", *file, "A new file, .tar.gz; only its owner may read it")->required();
    command->footer(
        "Run it as root: then nothing is missing that this node knows. It takes some seconds, a minute and a half at "
        "most, and\n"
        "works while daemons are down. What could not be had is listed, also in missing.txt of the bundle.");
    command->callback([&context, file] { run(context, *file); });
}

}  // namespace lbcluster::cli

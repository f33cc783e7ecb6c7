// lbcluster-sim run SCENARIO...
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "sim/commands.hpp"
#include "sim/run/picture.hpp"
#include "sim/run/report.hpp"

namespace lbcluster::sim {

namespace {

struct RunWish {
    std::vector<std::string> files;
    std::optional<std::uint64_t> seed;
    bool json = false;
    bool why = false;
    bool quiet = false;
    std::string pcap;
    std::string timeline;
};

int print_problems(const Loaded& scenario) {
    std::fputs(config::format(scenario.problems).c_str(), stderr);
    return exit_invalid;
}

bool make_folder(const std::string& folder) {
    if (::mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST) return true;
    std::fprintf(stderr, "lbcluster-sim: cannot make the folder '%s': %s\n", folder.c_str(), std::strerror(errno));
    return false;
}

// "dir/crash.yaml" -> "crash"
std::string stem(const std::string& file) {
    std::string name = file.substr(file.rfind('/') + 1);
    return name.substr(0, name.rfind('.'));
}

// With several scenarios each gets a file of its own: out.svg -> out-crash.svg.
bool write_picture(const Loaded& scenario, const RunResult& result, const RunWish& wish) {
    const std::size_t dot = wish.timeline.rfind('.');
    std::string path = wish.timeline;
    if (wish.files.size() > 1) path = path.substr(0, dot) + "-" + stem(scenario.file) + path.substr(dot);
    std::ofstream file(path, std::ios::binary);
    file << (path.ends_with(".html") ? html_page(scenario, result) : svg_picture(scenario, result));
    file.close();
    if (file) return true;
    std::fprintf(stderr, "lbcluster-sim: cannot write '%s': %s\n", path.c_str(), std::strerror(errno));
    return false;
}

int run_one(const std::string& file, const RunWish& wish) {
    const Loaded scenario = load_scenario(file);
    if (!scenario.ok()) return print_problems(scenario);
    RunOptions options;
    options.seed = wish.seed;
    if (!wish.pcap.empty()) {
        options.pcap_dir = wish.files.size() > 1 ? wish.pcap + "/" + stem(file) : wish.pcap;
        if (!make_folder(wish.pcap) || !make_folder(options.pcap_dir)) return exit_failed;
    }
    const RunResult result = run_simulation(scenario, options);
    if (wish.json) {
        std::fputs(json_report(scenario, result).c_str(), stdout);
    } else if (wish.quiet) {
        std::printf("%s %s: %zu moves, longest gap %s\n", result.good() ? "ok    " : "FAILED", file.c_str(),
                    result.moves.size(), milliseconds_text(result.longest_gap).c_str());
    } else {
        const bool color = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
        std::fputs(text_report(scenario, result, {color, wish.why}).c_str(), stdout);
    }
    std::fflush(stdout);
    if (!wish.timeline.empty() && !write_picture(scenario, result, wish)) return exit_failed;
    return result.good() ? exit_done : exit_failed;
}

// ns-3 allows one simulation in a process, strictly: each scenario has its own.
int run_all(const RunWish& wish) {
    if (wish.files.size() == 1) return run_one(wish.files.front(), wish);
    int worst = exit_done;
    for (const std::string& file : wish.files) {
        std::fflush(stdout);
        const pid_t child = ::fork();
        if (child < 0) {
            std::fprintf(stderr, "lbcluster-sim: cannot fork: %s\n", std::strerror(errno));
            return exit_failed;
        }
        if (child == 0) ::_exit(run_one(file, wish));
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        int code = exit_failed;
        if (WIFEXITED(status)) code = WEXITSTATUS(status);
        else std::fprintf(stderr, "lbcluster-sim: %s: ended by signal %d\n", file.c_str(), WTERMSIG(status));
        worst = std::max(worst, code);
    }
    return worst;
}

}  // namespace

void register_run(CLI::App& app, int& exit_code) {
    auto wish = std::make_shared<RunWish>();
    CLI::App* verb = app.add_subcommand("run", "Run scenarios; say what happened, and whether it was right");
    verb->add_option("SCENARIO", wish->files, "Scenario files")->required();
    verb->add_option("--seed", wish->seed, "Instead of the scenario's own");
    verb->add_flag("--json", wish->json, "The result as JSON");
    verb->add_flag("--why", wish->why, "With what each decision was based on");
    verb->add_flag("--quiet", wish->quiet, "One line for each scenario");
    verb->add_option("--pcap", wish->pcap, "Write what each interface saw to this folder, for Wireshark");
    verb->add_option("--timeline", wish->timeline, "Write a picture to FILE.svg, or a page with it to FILE.html")
        ->check([](const std::string& file) {
            return file.ends_with(".svg") || file.ends_with(".html") ? ""
                                                                     : "'" + file + "' ends neither in .svg nor .html";
        });
    verb->callback([wish, &exit_code] { exit_code = run_all(*wish); });
}

}  // namespace lbcluster::sim

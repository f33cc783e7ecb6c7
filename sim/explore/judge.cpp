#include "sim/explore/judge.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

namespace lbcluster::sim {

namespace {

std::string number(double value, int digits) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}
double in_ms(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }
std::string ms_text(Duration duration) { return number(in_ms(duration), in_ms(duration) < 100 ? 1 : 0) + " ms"; }
std::string percent(double loss) {
    return number(loss, loss == static_cast<double>(static_cast<int>(loss)) ? 0 : 1) + " %";
}

// All that was found about one pair of timers.
struct Row {
    TriedTimers timers;
    std::vector<const Cell*> cells;  // by loss
    [[nodiscard]] Duration median() const { return cells.front()->median(); }
    [[nodiscard]] Duration worst(double up_to) const {
        Duration out{0};
        for (const Cell* cell : cells) {
            if (cell->loss <= up_to) out = std::max(out, cell->worst());
        }
        return out;
    }
    [[nodiscard]] unsigned moves(double up_to) const {
        unsigned out = 0;
        for (const Cell* cell : cells) {
            if (cell->loss <= up_to) out += cell->moves;
        }
        return out;
    }
    // Nothing moved without a fault, every crash was taken over, and all of it could be simulated.
    [[nodiscard]] bool clean(double up_to) const {
        return std::all_of(cells.begin(), cells.end(), [&](const Cell* cell) {
            return cell->loss > up_to || (cell->moves == 0 && cell->unserved == 0 && cell->problem.empty());
        });
    }
};

std::vector<Row> rows_of(const std::vector<Cell>& cells) {
    std::vector<Row> rows;
    for (const Cell& cell : cells) {
        const bool same = !rows.empty() && rows.back().timers.keepalive == cell.timers.keepalive &&
                          rows.back().timers.deadtime == cell.timers.deadtime;
        if (!same) rows.push_back({cell.timers, {}});
        rows.back().cells.push_back(&cell);
    }
    return rows;
}

std::set<double> losses_of(const std::vector<Cell>& cells) {
    std::set<double> out;
    for (const Cell& cell : cells) out.insert(cell.loss);
    return out;
}

std::string because(const std::vector<Row>& rows, const Row& best, double up_to) {
    Duration quiet{0};
    for (const Cell* cell : best.cells) {
        if (cell->loss <= up_to) quiet += cell->quiet;
    }
    std::string text = "Take " + best.timers.text() + ": a crash costs " + ms_text(best.median()) +
                       " at the median and " + ms_text(best.worst(up_to)) + " at most, and in " +
                       number(in_ms(quiet) / 1000, 0) + " s with up to " + percent(up_to) +
                       " loss nothing moved without a fault.";
    // The next faster ones, and what is wrong with them.
    const Row* faster = nullptr;
    for (const Row& row : rows) {
        if (row.clean(up_to) || row.median() >= best.median()) continue;
        if (faster == nullptr || row.median() > faster->median()) faster = &row;
    }
    if (faster == nullptr) return text;
    const unsigned moves = faster->moves(up_to);
    text += " " + faster->timers.text() + " is faster (" + ms_text(faster->median()) + ") but ";
    text += moves > 0 ? "moved " + std::to_string(moves) + (moves == 1 ? " time" : " times") + " without a fault."
                      : "did not always take over.";
    return text;
}

}  // namespace

Advice advise(const std::vector<Cell>& cells) {
    const std::vector<Row> rows = rows_of(cells);
    const std::set<double> losses = losses_of(cells);
    for (auto loss = losses.rbegin(); loss != losses.rend(); ++loss) {
        const Row* best = nullptr;
        for (const Row& row : rows) {
            if (!row.clean(*loss)) continue;
            // Of two that are hardly different (5 %), the one that sends less.
            const bool faster = best != nullptr && row.worst(*loss) * 20 < best->worst(*loss) * 19;
            const bool as_fast = best != nullptr && row.worst(*loss) * 20 <= best->worst(*loss) * 21;
            const bool fewer = best != nullptr && row.timers.keepalive > best->timers.keepalive;
            if (best == nullptr || faster || (as_fast && fewer)) best = &row;
        }
        if (best == nullptr) continue;
        Advice advice{best->timers, *loss, because(rows, *best, *loss)};
        if (*loss < *losses.rbegin()) {
            const double more = *std::prev(loss);
            advice.text += " With " + percent(more) + " loss every one of them moved: repair such a network first.";
        }
        return advice;
    }
    return {std::nullopt, 0,
            "None of these timers can be advised: each moved without a fault even on the best network."};
}

std::string explore_text(const std::vector<Cell>& cells, const Advice& advice) {
    const std::vector<Row> rows = rows_of(cells);
    std::string out =
        "Outage after a crash (median, longest) and moves without a fault, an hour, by loss of packets\n\n"
        "keepalive / deadtime ";
    char text[120];
    for (const double loss : losses_of(cells)) {
        std::snprintf(text, sizeof text, "|%27s ", ("loss " + percent(loss)).c_str());
        out += text;
    }
    out += "\n";
    for (const Row& row : rows) {
        const bool advised = advice.timers && advice.timers->keepalive == row.timers.keepalive &&
                             advice.timers->deadtime == row.timers.deadtime;
        std::snprintf(text, sizeof text, "%s %-16s %s ", advised ? ">" : " ", row.timers.text().c_str(),
                      row.timers.configured ? "*" : " ");
        out += text;
        for (const Cell* cell : row.cells) {
            const std::string moves = cell->moves == 0 ? "-" : number(cell->moves_an_hour(), 0) + "/h";
            std::snprintf(text, sizeof text, "|%9s%10s%8s%s", ms_text(cell->median()).c_str(),
                          ms_text(cell->worst()).c_str(), moves.c_str(), cell->unserved > 0 ? "!" : " ");
            out += cell->problem.empty() ? text : "|  could not be simulated     ";
        }
        out += "\n";
    }
    out += "\n* as configured   > advised   ! nobody took over in time   - never\n\n" + advice.text + "\n";
    for (const Cell& cell : cells) {
        if (!cell.problem.empty()) out += cell.timers.text() + ": " + cell.problem + "\n";
    }
    return out;
}

std::string explore_json(const std::vector<Cell>& cells, const Advice& advice, const ExploreSettings& settings) {
    nlohmann::ordered_json out;
    out["seed"] = settings.seed;
    out["runs"] = settings.runs;
    out["jitter_ms"] = in_ms(settings.jitter);
    out["cells"] = nlohmann::ordered_json::array();
    for (const Cell& cell : cells) {
        nlohmann::ordered_json one;
        one["keepalive_ms"] = in_ms(cell.timers.keepalive);
        one["deadtime_ms"] = in_ms(cell.timers.deadtime);
        one["configured"] = cell.timers.configured;
        one["loss_percent"] = cell.loss;
        one["outage_median_ms"] = in_ms(cell.median());
        one["outage_max_ms"] = in_ms(cell.worst());
        one["not_taken_over"] = cell.unserved;
        one["moves_without_fault"] = cell.moves;
        one["moves_an_hour"] = cell.moves_an_hour();
        one["simulated_s"] = in_ms(cell.quiet) / 1000;
        if (!cell.problem.empty()) one["problem"] = cell.problem;
        out["cells"].push_back(one);
    }
    nlohmann::ordered_json best;
    if (advice.timers) {
        best["keepalive_ms"] = in_ms(advice.timers->keepalive);
        best["deadtime_ms"] = in_ms(advice.timers->deadtime);
        best["up_to_loss_percent"] = advice.up_to_loss;
    }
    best["reason"] = advice.text;
    out["advice"] = best;
    return out.dump(2) + "\n";
}

}  // namespace lbcluster::sim

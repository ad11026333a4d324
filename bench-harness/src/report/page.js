// Draws the page's plots. Each stands in the page as JSON; colours of text and grid follow the page's theme.
(function () {
  "use strict";
  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }
  function themed(layout) {
    var ink = css("--ink"), soft = css("--soft"), line = css("--line");
    layout.paper_bgcolor = "rgba(0,0,0,0)";
    layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink };
    layout.hoverlabel = { bgcolor: css("--wash"), bordercolor: line, font: { color: ink } };
    ["xaxis", "yaxis"].forEach(function (name) {
      var axis = layout[name] = layout[name] || {};
      axis.gridcolor = line;
      axis.linecolor = line;
      axis.tickfont = { color: name === "yaxis" && axis.tickmode === "array" ? ink : soft };
      if (axis.title && typeof axis.title === "object") {
        axis.title.font = { color: soft, size: 12.5 };
      }
    });
    return layout;
  }
  // Where a screen is narrow, long tick labels would leave no room for the plot: they go above their row instead.
  function narrowed(figure, width) {
    var axis = figure.layout.yaxis;
    if (width >= 640 || !axis || axis.tickmode !== "array") { return; }
    figure.layout.annotations = (axis.ticktext || []).map(function (text, i) {
      return { xref: "paper", x: 0, xanchor: "left", yref: "y", y: axis.tickvals[i], yshift: 20, showarrow: false,
        align: "left", text: text.replace("<br>", " "), font: { size: 11 } };
    });
    axis.showticklabels = false;
    figure.layout.margin.l = 8;
  }
  function draw(place) {
    var text = document.getElementById(place.id + "-figure").textContent;
    var figure = JSON.parse(text);
    narrowed(figure, place.clientWidth);
    var narrow = place.clientWidth < 640;
    if (narrow) {
      figure.layout.margin.r = 8;
      // A finger that scrolls the page must not zoom a plot.
      figure.layout.dragmode = false;
    }
    figure.layout.autosize = true;
    place.textContent = "";
    Plotly.newPlot(place, figure.data, themed(figure.layout),
      { responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  }
  var places = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  places.forEach(function (place) {
    try {
      draw(place);
    } catch (error) {
      place.textContent = "This plot could not be drawn: " + error;
    }
  });
  if (window.matchMedia) {
    var dark = window.matchMedia("(prefers-color-scheme: dark)");
    if (dark.addEventListener) {
      dark.addEventListener("change", function () {
        places.forEach(function (place) {
          if (place.layout) { Plotly.react(place, place.data, themed(place.layout)); }
        });
      });
    }
  }
})();

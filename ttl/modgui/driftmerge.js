function (event) {
    // MOD evaluates this file as one function expression and calls it with `start` once and with `change` for every
    // value of a control and of a monitored output. Outputs are not drawn by MOD itself.

    // The scale points of `state`.
    var states = ['searching', 'locked', 'holding'];

    function show(symbol, value) {
        var meter = event.icon.find('[data-meter="' + symbol + '"]');
        if (meter.length === 0) {
            return;
        }
        if (symbol.indexOf('state') === 0) {
            var state = states[Math.round(value)] || states[0];
            meter.text(state);
            meter.toggleClass('driftmerge-locked', state === 'locked');
            meter.toggleClass('driftmerge-holding', state === 'holding');
        } else if (symbol.indexOf('lag') === 0) {
            meter.text(value.toFixed(2) + ' ms');
        } else if (symbol.indexOf('weight') === 0) {
            meter.text(Math.round(100 * value) + ' %');
        }
    }

    if (event.type === 'start') {
        event.ports.forEach(function (port) { show(port.symbol, port.value); });
    } else if (event.type === 'change' && event.symbol) {
        show(event.symbol, event.value);
    }
}

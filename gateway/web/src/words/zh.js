// Simplified Chinese; the same keys as en.js.

const ASK = '请回到您获取链接的地方，重新打开控制台。';

export default {
  language: '简体中文',
  tag: 'zh-CN',

  page: {
    bar: '控制台',
    keys: '按键',
    clipboard: '剪贴板',
    keyboard: '键盘',
    settings: '设置',
    full_screen: '全屏',
    hide_bar: '隐藏工具栏',
    show_bar: '显示工具栏',
    screen: '机器的屏幕',
    typing: '输入的文字会发送到机器',
    view_only: '仅查看',
    delay: '{ms} 毫秒',
    delay_title: '向网关提问并收到回答所用的时间',

    send: '发送',
    hold: '按住，作用于下一个键',
    leave_hint: '同时按下并松开 Ctrl、Alt 和 Shift，可从屏幕移到工具栏；按 Esc 返回。',

    clipboard_text: '文本',
    clipboard_hint: '机器复制的内容显示在这里；要给机器的文本也在这里输入或粘贴。',
    copy: '复制',
    paste: '从本设备粘贴',
    give: '放到机器的剪贴板',
    type: '逐字输入',
    paste_in: '粘贴到终端',
    find: '查找',
    find_text: '终端显示过的文字',
    find_previous: '向上',
    find_next: '向下',
    found: '第 {number} 处，共 {count} 处',
    not_found: '没有找到。',
    font: '文字大小',
    small: '小',
    middle: '中',
    large: '大',
    type_hint: '没有剪贴板的机器可以逐字输入，按美式键盘发送。',

    size: '屏幕大小',
    fit: '适应窗口',
    native: '原始像素',
    follow: '调整机器的分辨率',
    quality: '画面',
    sharp: '清晰',
    balanced: '均衡',
    fast: '流畅',
    choose_language: '语言',
    licences: '许可证',

    answer: '连接',
    username: '用户名',
    password: '密码',
    target: '机器',

    try_again: '重试',
    connect_again: '重新连接',
    try_now: '立即重试',
    stop: '停止重试',
    countdown: '{seconds} 秒后进行第 {attempt} 次尝试。控制台还会为您保留 {left} 秒。',
    trying: '正在进行第 {attempt} 次尝试。',
    held: '{seconds} 秒后可以重试。',
    gave_up: '未能及时恢复。请重新连接，或回到原处获取新链接。',
    stopped: '您已停止重试。凭证只在短时间内有效。',
    slow: '用时比平常久。机器可能正忙，或其控制台没有响应。',
  },

  toasts: {
    copied_there: '机器复制了文本。',
    copied_here: '已复制到本设备。',
    copy_failed: '浏览器不允许。请选中文本后自行复制。',
    paste_failed: '浏览器不允许。请直接粘贴到文本框中。',
    given: '已放到机器的剪贴板。',
    typed: '已在机器上输入。',
    keeps_size: '这台机器不改变分辨率，已改为适应窗口。',
    back: '已重新连接。',
  },

  states: {
    connecting: '正在连接',
    waiting: '正在等待机器',
    reconnecting: '正在重新连接',
    connected: '已连接',
    credentials: '等待您输入',
    ended: '已结束',
    failed: '未连接',
  },

  cards: {
    asking: { title: '正在连接', text: '正在询问网关。' },
    opening: { title: '正在连接', text: '正在等待机器的屏幕。' },
    checking: { title: '正在连接', text: '正在验证登录。' },
    login: { title: '机器要求登录', text: '它的控制台有自己的密码，网关并不知道。' },
    unknown_key: {
      title: '是这台机器吗？',
      text: '它的控制台出示了一个本页面无法核对的密钥。如果您知道机器的密钥，请进行比对。',
    },
    login_refused: { title: '机器没有接受登录', text: '用户名或密码不正确。', next: '请检查后重试。' },
    damaged_link: { title: '链接已损坏', text: '其中的凭证含有凭证不会有的字符。', next: ASK },
    incomplete: {
      title: '页面没有完整加载',
      text: '缺少一部分内容。网关可能在页面打开时进行了更新。',
      next: ASK,
    },
    upgrade_lost: {
      title: '连接没有建立',
      text: '网关接受此凭证，但连接在屏幕出现之前就结束了。',
      next: '请重试。如果每次都失败，您网络中的代理可能阻止了 WebSocket 连接。',
    },
    not_understood: {
      title: '无法显示屏幕',
      text: '机器发来了本页面无法理解的内容。',
      next: '请重试。如果每次都失败，请使用本地 VNC 客户端，并告知管理员。',
    },
    needs_https: {
      title: '此控制台需要安全页面',
      text: '机器要求加密，而浏览器只在 https 页面上提供这种加密。',
      next: '请向管理员索取 https 链接，或使用本地 VNC 客户端。',
    },
    other_protocol: {
      title: '本页面无法显示这个控制台',
      text: '本页面显示 VNC 控制台和终端，而这台机器的控制台是另一种：{protocol}。',
      next: '请使用相应的本地客户端。',
    },
    too_late: {
      title: '已来不及恢复',
      text: '连接断开后，控制台只为您保留很短的时间，并且只限同一网络地址。',
      next: ASK,
    },
    closed: { title: '此控制台已关闭', text: '打开它的服务已将它关闭。', next: ASK },
    idle: {
      title: '控制台无人使用',
      text: '长时间没有任何活动，网关因此结束了连接。',
      next: '请重新连接以继续。',
    },
    too_long: {
      title: '控制台使用时间已到',
      text: '网关只在限定时间内保持连接。',
      next: '请重新连接，或索取新链接。',
    },
    unreachable: { title: '网关没有响应', text: '本页面无法连接到提供它的网关。', next: '请检查您的网络。' },
    other_refusal: {
      title: '网关没有让您进入',
      text: '它给出的原因本页面不认识。',
      next: '请重试。如果每次都失败，请索取新链接，或将下面的代码告知管理员。',
    },
    other_close: {
      title: '控制台已结束',
      text: '连接已关闭，本页面不知道原因。',
      next: '请重新连接。如果仍不行，请索取新链接。',
    },
  },

  refusals: {
    bad_handshake: {
      title: '连接在途中被改动',
      text: '到达网关的内容与本页面发出的不同。',
      next: '您网络中的代理可能不支持 WebSocket 连接。请换一个网络试试。',
    },
    head_too_long: {
      title: '请求过长',
      text: '您的浏览器或代理附带的内容超过了网关的限制。',
      next: '请删除此地址的 Cookie，然后重试。',
    },
    tls_required: {
      title: '此控制台需要 https',
      text: '网关只接受加密连接。',
      next: '请将链接开头改为 https 后重新打开。',
    },
    no_tls: {
      title: '此控制台不提供 https',
      text: '网关在此地址不接受加密连接。',
      next: '请索取新链接。如果 https 是您自己输入的，请改用 http。',
    },
    tls_failed: {
      title: '未能建立安全连接',
      text: '浏览器与网关未能达成一致，多半是浏览器不信任证书。',
      next: '请告知管理员。',
    },
    no_page: { title: '没有这个页面', text: '网关在此地址没有页面。', next: ASK },
    no_ticket: {
      title: '链接中没有凭证',
      text: '控制台链接带有让您进入的凭证。此地址没有凭证，或者页面被刷新过，凭证已被忘记。',
      next: ASK,
    },
    wrong_ticket: {
      title: '凭证不属于此控制台',
      text: '网关不认识链接中的凭证，或者它属于另一个控制台。',
      next: `${ASK}如果链接是复制来的，请检查末尾是否完整。`,
    },
    ticket_used: {
      title: '凭证已被使用',
      text: '一个凭证只让一位查看者进入一次，并且只限首次使用它的网络地址。',
      next: '如果控制台已在其他窗口或设备上打开，请在那里使用；否则请索取新链接。',
    },
    ticket_expired: { title: '凭证已过期', text: '控制台链接只在限定时间内有效。', next: ASK },
    wrong_source: {
      title: '此控制台不对您的网络开放',
      text: '它是为其他网络地址打开的。',
      next: '请使用为其打开的网络（例如办公网络或 VPN），然后重试。',
    },
    wrong_origin: {
      title: '另一个页面试图打开此控制台',
      text: '浏览器中的凭证只供本页面使用，而请求来自另一个页面。',
      next: ASK,
    },
    too_many: {
      title: '尝试次数过多',
      text: '您的网络地址有太多没有有效凭证的连接。',
      next: '请等待一分钟后重试。',
    },
    client_full: {
      title: '您打开的控制台过多',
      text: '网关限制同一网络地址打开的控制台数量。',
      next: '请关闭另一个控制台后重试。',
    },
    instance_full: {
      title: '查看这台机器的人过多',
      text: '网关限制一台机器的查看者数量。',
      next: '请等有人离开后重试。',
    },
    full: { title: '网关已满', text: '它服务的控制台已达上限。', next: '稍后可能会有空位。' },
    no_broker: { title: '这里没有控制台', text: '此地址的控制台已关闭，或从未打开。', next: ASK },
    slow: { title: '请求用时过长', text: '它没有及时到达网关。', next: '请检查您的网络。' },
    instance_gone: {
      title: '机器已不在',
      text: '它已被删除，或在链接生成之后被迁移。',
      next: '如果机器仍然存在，请索取新链接。',
    },
    target_refused: {
      title: '机器不接受连接',
      text: '网关正常，但这台机器的控制台拒绝了连接。',
      next: '请检查机器是否已开机。',
    },
    target_not_vnc: {
      title: '机器使用另一种协议',
      text: '网关连接到了机器，但那里应答的不是 VNC 控制台。',
      next: '请告知管理员：这台机器登记的控制台端口可能有误。',
    },
    target_security: {
      title: '机器要求另一种登录方式',
      text: '它的控制台没有提供网关支持的登录方式。',
      next: '请告知管理员：控制台需要提供 VNC 密码方式或无密码方式。',
    },
    target_tls: {
      title: '无法信任机器的控制台',
      text: '它没有出示网关所知的证书，或不支持 TLS。',
      next: '请告知管理员：它的证书可能已经更换。',
    },
    target_password: {
      title: '网关的密码不正确',
      text: '网关代您登录这台机器的控制台，但控制台拒绝了它的密码。',
      next: '请告知管理员：需要重新登记这台机器的控制台密码。',
    },
    target_timeout: {
      title: '机器没有响应',
      text: '网关正常，但这台机器的控制台没有及时响应。',
      next: '请检查机器及其宿主机是否在运行。',
    },
    stopping: {
      title: '网关正在停止',
      text: '它不再接受新连接，很可能正在更新。',
      next: '它应该很快恢复。',
    },
    unavailable: {
      title: '网关暂时查不到这台机器',
      text: '存放记录的地方目前没有响应。',
      next: '它应该很快恢复；如果没有，请告知管理员。',
    },
  },

  closes: {
    1000: { title: '机器关闭了控制台', text: '它可能已关机，或正在重启。', next: '请检查机器是否已开机。' },
    1001: {
      title: '网关关闭了连接',
      text: '它正在停止或重启。',
      next: '它应该很快恢复。',
    },
    1002: {
      title: '连接已损坏',
      text: '网关收到了不符合 WebSocket 规则的内容。',
      next: '请重新连接。如果每次都这样，可能是您网络中的代理有问题。',
    },
    1006: { title: '连接已断开', text: '网关或网络中断了。', next: '请检查您的网络。' },
    1007: {
      title: '连接已损坏',
      text: '网关收到的文本无法识别。',
      next: '请重新连接。如果每次都这样，可能是您网络中的代理有问题。',
    },
    1011: {
      title: '与机器的连接中断',
      text: '网关正常，但它与机器失去了联系。',
      next: '请检查机器及其宿主机是否在运行。',
    },
    4000: {
      title: '控制台已在别处继续',
      text: '一个更新的窗口取代了这个窗口。',
      next: '请在那里继续，或重新连接以取回控制台。',
    },
    4001: {
      title: '管理员结束了此会话',
      text: '凭证已失效。',
      next: '请询问管理员，或索取新链接。',
    },
  },
};

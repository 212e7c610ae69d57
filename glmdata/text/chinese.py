"""Simplified or traditional: Chinese text told apart by the characters that only one of the two writes.

Source of the table: written by hand for glmdata, from general knowledge of the commonest pairs of the simplification of
1956 to 1964. Left out are simplified characters that traditional text writes too, in other words or as a variant (后,
里, 面, 只, 干, 台, 云, 余, ...), of which the traditional partners stand alone, and traditional ones that simplified
text keeps (著 in 著名, 乾 in 乾隆, 瞭 in 瞭望). Checked: GB 2312 has every simplified
character, Big5 every traditional one but 裏.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIMPLIFIED", "TRADITIONAL", "variant_names"]

# A simplified character, then its traditional partner.
_PAIRS = (
    "这這来來个個们們时時说說国國会會为為对對过過还還没沒从從经經现現开開问問动動关關点點样樣头頭种種让讓觉覺给給"
    "实實认認应應间間见見长長业業产產两兩无無与與门門车車东東马馬鸟鳥鱼魚龙龍龟龜风風飞飛气氣电電话話语語读讀书書"
    "写寫学學习習师師题題课課试試词詞译譯识識议議论論设設计計许許访訪证證评評调調请請谈談谢謝谁誰该該详詳误誤诉訴"
    "诗詩诚誠诸諸谓謂谋謀谅諒谨謹谱譜变變讨討训訓记記讲講诊診诞誕询詢诺諾诱誘诏詔诈詐讯訊讽諷谊誼谦謙谣謠谜謎谬謬"
    "赞贊贝貝负負财財贡貢贫貧货貨质質贩販贪貪购購贯貫贵貴贷貸费費贸貿贺賀贼賊资資赋賦赌賭赏賞赔賠赖賴赚賺赛賽赠贈"
    "赢贏责責败敗账賬贱賤贴貼贤賢钱錢铁鐵银銀铜銅钢鋼钉釘针針钓釣钥鑰锁鎖键鍵锅鍋错錯锦錦镇鎮镜鏡铃鈴铅鉛销銷锋鋒"
    "锐銳锻鍛链鏈铺鋪钻鑽铸鑄镶鑲闪閃闭閉闯闖闲閒闷悶闹鬧闻聞阅閱阔闊阵陣阳陽阴陰阶階际際陆陸陈陳险險随隨隐隱难難"
    "双雙鸡雞离離杂雜虽雖响響项項顺順须須顾顧顿頓预預领領颗顆颜顏额額频頻类類显顯页頁饭飯饮飲饱飽饰飾饼餅饿餓馆館"
    "馈饋骑騎骗騙验驗骂罵驾駕驶駛驱驅驻駐骄驕鲜鮮鲁魯鸣鳴鸭鴨鹅鵝鹏鵬麦麥黄黃齐齊齿齒龄齡红紅纪紀约約级級纯純纸紙"
    "纲綱纳納纷紛线線练練组組细細织織终終绍紹结結绝絕统統绩績续續维維绿綠综綜缓緩编編缘緣缩縮网網罗羅罚罰罢罷纵縱"
    "络絡绘繪绕繞绑綁绪緒继繼绳繩绵綿缠纏缴繳缝縫绒絨纹紋纺紡纽紐义義乐樂买買卖賣乱亂争爭亏虧亚亞亲親亿億仅僅仓倉"
    "仪儀价價众眾优優伞傘伟偉传傳伤傷伦倫伪偽体體侠俠侧側侦偵债債倾傾偿償储儲儿兒党黨兰蘭兴興养養兽獸内內冈岡册冊"
    "军軍农農冻凍净淨凉涼减減凑湊击擊凤鳳凭憑刘劉则則刚剛创創别別剂劑剑劍剧劇劝勸办辦务務劳勞势勢励勵劲勁区區医醫"
    "华華协協单單卢盧卫衛厂廠厅廳历歷厉厲压壓厌厭县縣参參叙敘叹嘆吗嗎启啟员員听聽呜嗚咙嚨哑啞唤喚啸嘯喷噴团團园園"
    "围圍图圖圆圓圣聖场場坏壞块塊坚堅坟墳垄壟垒壘垦墾垫墊墙牆壮壯声聲壳殼处處备備复復够夠夹夾夺奪奋奮奖獎妆妝妇婦"
    "妈媽娱娛婴嬰孙孫宁寧宝寶审審宪憲宫宮宽寬宾賓寝寢寻尋导導将將尔爾尘塵尝嘗尽盡层層届屆属屬岁歲岛島岭嶺币幣帅帥"
    "带帶帮幫广廣庆慶库庫废廢庙廟异異弃棄张張弥彌弯彎弹彈强強归歸录錄彻徹径徑忆憶忧憂怀懷态態总總恋戀恶惡恼惱悬懸"
    "惊驚惧懼惨慘惩懲惯慣愤憤戏戲战戰户戶扑撲执執扩擴扫掃扬揚扰擾抚撫抛拋抢搶护護报報担擔拟擬拥擁择擇挡擋挣掙挤擠"
    "挥揮损損换換掷擲摄攝摆擺摇搖敌敵数數断斷旧舊昼晝晓曉晕暈暂暫术術机機杀殺权權条條极極构構枪槍标標栋棟栏欄树樹"
    "档檔桥橋检檢楼樓欢歡欧歐歼殲残殘毁毀毕畢毙斃汇匯汉漢汤湯沟溝沪滬泪淚泼潑泽澤洁潔浅淺测測济濟浏瀏浓濃涛濤润潤"
    "涨漲渐漸渔漁湾灣湿濕满滿滚滾滤濾滨濱灭滅灯燈灵靈灾災炉爐炼煉烂爛烟煙烦煩烧燒热熱爱愛爷爺牵牽牺犧状狀犹猶独獨"
    "狮獅狱獄猎獵猪豬猫貓献獻环環玛瑪琼瓊画畫疗療疮瘡瘫癱盐鹽监監盖蓋盘盤矿礦码碼砖磚础礎确確礼禮祸禍秃禿积積称稱"
    "稳穩穷窮窃竊竞競笔筆笼籠筑築签簽简簡粮糧粪糞紧緊纠糾聪聰职職联聯肃肅肠腸肤膚肾腎肿腫胀脹胁脅胜勝胶膠脉脈脏臟"
    "脑腦脚腳脱脫脸臉腾騰舰艦艺藝节節苏蘇范範荐薦药藥荣榮莲蓮获獲营營萧蕭萨薩葱蔥蓝藍虏虜虑慮虚虛虫蟲虾蝦蚂螞蛮蠻"
    "蜡蠟蝇蠅补補衬襯袜襪装裝裤褲观觀规規视視览覽触觸誉譽贞貞赵趙趋趨跃躍践踐踪蹤轨軌转轉轮輪软軟轻輕载載较較辅輔"
    "辆輛辈輩辉輝输輸辞辭辩辯边邊达達迁遷运運进進远遠违違连連迟遲选選递遞逻邏遗遺邓鄧邮郵邻鄰郑鄭酱醬释釋鉴鑒铝鋁"
    "锈鏽锡錫镀鍍陕陝隶隸雾霧静靜韩韓颇頗颈頸飘飄驼駝骤驟鬓鬢鲸鯨鸽鴿鹰鷹历曆发發当當万萬专專丰豐临臨丽麗举舉么麼"
    "乡鄉亩畝仑侖侨僑俩倆兑兌决決况況刹剎剥剝勋勳厨廚叠疊吓嚇吕呂吴吳哗嘩嘱囑坛壇堕墮奥奧娇嬌娄婁孪孿宠寵岂豈岗崗"
    "峡峽帐帳帜幟幂冪庐廬廪廩弑弒恳懇悦悅惫憊懒懶抠摳拣揀拦攔挚摯捡撿捣搗掺摻揽攬搀攙摊攤撑撐攒攢敛斂斋齋昙曇晋晉"
    "暧曖杨楊枣棗柠檸栈棧桩樁梦夢棂欞榄欖槛檻殴毆毡氈氢氫沧滄沥瀝涡渦涣渙涤滌涩澀渊淵渍漬渗滲溃潰滞滯潜潛澜瀾烛燭"
    "焕煥狈狽玺璽珑瓏瑶瑤疟瘧癣癬皱皺盗盜瞒瞞矫矯硕碩碍礙祷禱祯禎稣穌窑窯窜竄竖豎笋筍筛篩箩籮篮籃绅紳绊絆绎繹绞絞"
    "绢絹绣繡绸綢缀綴缅緬缆纜缉緝缎緞缔締缚縛缤繽缰韁耸聳聋聾聂聶肮骯胆膽胧朧脍膾舱艙艰艱芦蘆茎莖荡蕩荧熒莱萊莹瑩"
    "萝蘿蒋蔣蔷薔蕴蘊薮藪蚀蝕蛊蠱蜗蝸蝉蟬衅釁袄襖袭襲裆襠觅覓誊謄讥譏讹訛讼訟诅詛诡詭诵誦诽誹谍諜谎謊谐諧谤謗谴譴"
    "贬貶贮貯贰貳贾賈贿賄赁賃赂賂赃贓赎贖赐賜赘贅趸躉跄蹌躏躪轧軋轩軒轰轟轴軸轿轎辐輻辑輯辕轅辙轍辫辮迈邁迹跡逊遜"
    "郏郟酝醞酿釀钙鈣钝鈍钞鈔钟鐘钠鈉钩鉤钮鈕钳鉗钵缽钾鉀铀鈾铂鉑铐銬铠鎧铬鉻铭銘铲鏟铿鏗锄鋤锌鋅锚錨锤錘锥錐锯鋸"
    "镁鎂镐鎬镑鎊镖鏢闸閘闽閩阀閥阁閣阎閻阐闡雏雛韧韌韵韻颁頒颂頌颊頰颓頹颖穎颠顛颤顫飓颶飙飆饥飢饵餌饶饒饺餃馅餡"
    "馋饞驭馭驯馴驳駁驴驢驿驛骆駱骇駭骏駿骚騷髅髏魇魘鲍鮑鳄鱷鳞鱗鸦鴉鸥鷗鸯鴦鸳鴛鸿鴻鹃鵑鹉鵡鹊鵲鹤鶴鹦鸚麸麩齑齏"
)
_TRADITIONAL_ALONE = "夥劃莊據鬥於衝誇樸踴後裡裏麵隻幹臺雲餘並併準徵誌繫係彙迴製鬆鬱穀闢鬍鬚捲"

SIMPLIFIED = frozenset(_PAIRS[::2])
"""Characters that only simplified text writes."""
TRADITIONAL = frozenset(_PAIRS[1::2] + _TRADITIONAL_ALONE)
"""Characters that only traditional text writes."""


def variant_names(counts: NDArray[np.int64]) -> NDArray[np.object_]:
    """Of each row (simplified characters, traditional characters) of int64[n, 2]: "hans", "hant" or None.

    The majority decides: a traditional text may quote simplified names. None: neither is there, or as many of both.
    """
    simplified, traditional = counts[:, 0], counts[:, 1]
    names = np.full(len(counts), None, object)
    names[simplified > traditional] = "hans"
    names[traditional > simplified] = "hant"
    return names

"""Words by which short texts in Latin script are told apart: data of `glmdata.text.latin`.

Source: written by hand for glmdata, from general knowledge of the languages: articles, pronouns, prepositions,
conjunctions, auxiliaries, and the everyday words and imperatives of instructions. None was taken from a labelled set. A
word that several languages share stands in the table of each. Words are lower case; an elided article keeps its
apostrophe (l').
"""

__all__ = ["ENGLISH_LOANS", "ENGLISH_NAMES", "ENGLISH_ONLY", "ENGLISH_WORDS", "WORDS"]

_ENGLISH = {
    "only": """
    the this that these those there their theirs them they then than though through throughout thus which who whom
    whose what when where while why with within without would could should shall cannot each every everything everyone
    everybody either neither both few many much more most other others another any anything anyone some something
    someone sometimes somewhere nothing nobody none never ever always often once only just also although because since
    until before after afterwards about above across against along among around away back behind below beneath beside
    between beyond by down during from into near off onto out outside inside toward towards under up upon via your
    yours yourself yourselves you i my mine myself our ours ourselves us his him himself her hers herself its itself
    it and are been being be am is was were have has had having does did doing done not but if or of for to how here
    very too yet still again already almost enough rather quite perhaps maybe please thanks thank yes hello whether
    according instead otherwise however therefore moreover whatever whenever wherever whoever let lets make makes made
    get gets got getting give gives given take takes taken took know knows known knew think thought see sees seen saw
    """,
    "words": """
    a an at as in on no so do he she we me will can may might must over all same such like own per one two three four
    five six seven eight nine ten hundred thousand first second third last next previous new old young good better
    best bad worse worst great big large larger largest small smaller smallest long longer short high higher low lower
    early late later latest recent current former whole half full empty free open closed easy hard simple clear right
    wrong left true false different similar important possible impossible available able unable ready safe certain
    sure likely real main major minor common public private local remote general special specific particular single
    double multiple several various additional extra further least less little even well far fast slow quick quickly
    slowly really actually probably usually finally currently recently automatically directly together apart ago today
    tomorrow yesterday tonight now soon day days week weeks month months year years hour hours minute minutes time
    times morning evening night noon monday tuesday wednesday thursday friday saturday sunday january february march
    april june july august september october november december spring summer autumn winter man men woman women child
    children boy girl people person family father mother brother sister son daughter friend friends wife husband baby
    kid kids life world country city town village street road house home room door window table chair bed food water
    coffee tea dinner lunch breakfast bread meat fish fruit car bus train plane bike boat ship way ways thing things
    part parts place places point points name names number numbers word words line lines side end start beginning
    middle top bottom front hand hands head eye eyes face heart body mind foot feet arm leg hair skin blood voice work
    job money price cost dollar dollars business company government law state states war peace history story stories
    book books page pages paper letter letters picture pictures photo movie film music song game games player team
    school student students teacher class university college question questions answer answers reason reasons problem
    problems idea ideas fact facts case cases issue issues example examples kind sort type types level group groups
    member members community service services power light sound weather rain snow wind sun moon star sky sea ocean
    river lake mountain tree trees flower flowers animal animals dog dogs cat cats horse bird birds color colors
    colour white black red blue green yellow brown gray grey pink go goes going gone went come comes coming came say
    says said saying tell tells told talk talking speak spoke want wants wanted need needs needed needing try tries
    tried trying use uses used useful using user users look looks looked looking find finds found finding keep keeps
    kept keeping leave leaves leaving put puts putting bring brings brought begin begins began begun seem seems seemed
    feel feels felt feeling become becomes became mean means meant show shows shown showing showed hear heard play
    plays played playing run runs running ran move moves moved moving live lives lived living believe believes hold
    holds held happen happens happened write writes written writing wrote read reads reading sit sat stand stands
    stood lose lost pay pays paid meet meets met include includes included including continue continues continued set
    sets setting settings learn learns learned learning change changes changed changing lead leads led understand
    understands understood watch watches watched follow follows followed following stop stops stopped stopping create
    creates created creating add adds added adding allow allows allowed allowing spend spent grow grows grew grown
    walk walked win wins won offer offers offered remember love loves loved consider appear appears buy bought wait
    waits waiting serve die died send sends sent sending receive receives received expect build builds built building
    stay stays fall fell cut reach kill kills killed remain suggest raise pass passes passed sell sold require
    requires required report reports decide pull push help helps helped helping helpful ask asks asked asking turn
    turns turned call calls called calling drive drove break breaks broken close closes save saves saved saving choose
    chosen eat ate eating drink sleep sing swim wear wash cook fly flies throw teach taught catch caught fight fix
    fixes fixed hope wish care enjoy thinking share shares shared sharing join joined visit travel hurt welcome sorry
    congrats list lists listed listing display displays displayed print prints printed printing remove removes removed
    removing delete deletes deleted deleting copy copies copied copying edit edits edited editing update updates
    updated updating upgrade upgrades install installs installed installing uninstall reinstall reinstalls enable
    enables enabled disable disables disabled specify specifies specified check checks checked checking search
    searches searching convert converts converted generate generates generated generator download downloads
    downloading upload uploads opens opened opening quit exit exits restart restarts reload resume pause skip ignore
    replace replaces merge merges split splits extract extracts compress compressed decompress decode decodes encode
    encodes encrypt encrypted decrypt sign signed verify verifies retrieve retrieves fetch fetches query queries
    rename renames resize rotate crop scale filter count counts compare compares match matches matching apply applies
    select selects selected wrap launch launches execute executes executing perform performs compile compiles manage
    manages managing manager monitor monitors mount mounts unmount browse view views viewing viewer invoke connect
    connects connected connecting disconnect attach detach bind unbind listen listens forward redirect retry dump
    restore restores recover repair reset revert undo redo commit rebase clean cleans clears flush toggle hide focus
    switch switches step scan scans trace track detect detects measure estimate calculate calculates compute render
    draw draws paint record records capture stream streams synchronize sync schedule deploy deploys publish publishes
    release releases subscribe register unregister login logout authenticate authorize initialize configure configures
    define defines declare describe describes explain provide provides provided support supports supported contain
    contains containing store stores stored return returns interact preview prefix append prepend insert assign
    exclude limit increase increases decrease reduce improve avoid prevent ensure handle handles treat force overwrite
    inspect analyze validate evaluate lint format formats wipe shred shut shutdown boot reboot wake lock unlock
    suspend hibernate spawn fork size sizes length width height depth weight amount total maximum minimum average
    range value values key keys text string strings field fields column columns row rows header headers content
    contents message messages error errors warning warnings bug bugs feature features source sources output outputs
    input inputs command commands option options argument arguments flag flags variable variables function functions
    method methods file files folder folders directory directories path paths project projects package packages
    library libraries tool tools toolkit utility utilities program programs application applications software hardware
    machine machines computer computers device devices driver drivers disk disks memory storage network networks
    address addresses host hosts hostname client server servers website websites database databases environment
    environments permission permissions password passwords username account accounts owner owners branch branches tag
    tags repository repositories diff dependency dependencies task tasks process processes thread threads session
    sessions windows screen mouse keyboard shortcut button image images audio video videos tracks playlist subtitle
    subtitles font wallpaper background foreground terminal shell prompt stdin stdout editor pattern patterns
    expression expressions language languages translation document documents documentation manual guide guides note
    notes description summary overview details information info data statistics statistic usage status version
    versions license security privacy keyring signature certificate certificates token secret secrets policy policies
    rule rules role roles access resource resources cluster node nodes volume volumes snapshot snapshots template
    templates tables layer layers entry entries item items element elements object objects property properties
    attribute attributes parameter parameters contributor contributors contribution contributions contributing
    maintainer maintainers legal code coding developer developers development practices practice started starting
    friendly beautiful wonderful excellent terrible awesome nice perfect cool funny happy sad angry lovely regards
    cheers sincerely dear greetings wow okay ok oops custom default existing interactive verbose recursive recursively
    graphical powerful lightweight based related non-interactive built-in human-readable top-level read-only
    command-line real-time
    """,
    "loans": """
    file files server servers client software hardware browser web website webserver internet online offline email
    mail link links blog chat script scripts shell terminal prompt stdin stdout stderr backup log logs cache buffer
    framework docker kubernetes container containers cluster clusters node image images snapshot pod pods repository
    repositories repo branch branches tag tags commit commits merge push pull request requests issue issues fork
    rebase token tokens host hostname proxy router firewall plugin plugins driver drivers module modules package
    packages manager app apps daemon sandbox debug debugger debugging bug bugs feature features update updates upgrade
    download downloads upload streaming stream streams playlist video videos audio format formats template templates
    layout widget desktop laptop smartphone workflow workflows benchmark benchmarks build builds deployment pipeline
    pipelines cloud storage database dashboard login logout username password hash hashes string strings array boolean
    integer default input output editor parser compiler linker runtime testing test tests unit release releases open
    source open-source community marketing team teams meeting feedback sponsor sponsors startup business job jobs
    design designer developer developers frontend backend fullstack hacker hacking security privacy license copyright
    project guide status pack system network media model machine learning game games player virus antivirus crash
    kernel root admin volume
    """,
    "names": """
    john james michael mike david bob robert rob william bill richard rick charles charlie joseph joe thomas tom
    george steve steven stephen jeff jeffrey kevin brian ryan scott greg gary larry jerry terry dennis keith doug
    roger wayne billy bobby johnny jimmy jim andy andrew matthew matt kenneth ken chris christopher paul mark donald
    edward eddie ted jason justin brandon kyle sean shawn eric craig todd chad brad mary susan sue linda karen nancy
    betty helen sandra donna carol ruth sharon michelle laura sarah kimberly kim deborah debra jessica shirley cynthia
    cindy angela melissa brenda amy rebecca kathleen kathy pamela pam christine debbie janet catherine diane alice
    julie joyce heather jane ann anne emily ashley amanda jennifer jenny stephanie elizabeth liz lisa patricia dorothy
    barbara margaret smith johnson williams brown jones miller davis wilson taylor anderson jackson thompson harris
    clark lewis walker london england british britain america american americans usa california texas florida chicago
    boston washington houston york australia australian canada canadian ireland irish scotland scottish oxford
    cambridge
    """,
}

ENGLISH_ONLY = frozenset(_ENGLISH["only"].split())
"""Words that mark English wherever they stand; the few that another language has too are in its table as well."""

ENGLISH_WORDS = frozenset(_ENGLISH["words"].split())
"""Everyday English, and the English of instructions."""

ENGLISH_LOANS = frozenset(_ENGLISH["loans"].split())
"""English words that stand in the technical texts of many languages, and so say little."""

ENGLISH_NAMES = frozenset(_ENGLISH["names"].split())
"""Given names, family names and places of the English-speaking countries."""

_BY_LANGUAGE = {
    "fr": """
    le la les un une des du de d' l' et est sont en dans sur sous avec sans pour par que qui quoi dont où ou mais donc
    si ne pas plus ce cette ces cet il elle on nous vous ils elles je tu mon ma mes ton ta tes son sa ses notre nos
    votre vos leur leurs au aux se s' c' n' j' qu' y à a été être avoir ont fait faire comme tout tous toute toutes
    aussi très bien même entre depuis vers chez voir afficher affiche lister liste créer crée supprimer supprime
    ajouter ajoute lancer lance exécuter exécute ouvrir ouvre fermer installer installe désinstaller démarrer démarre
    arrêter arrête redémarrer télécharger télécharge chercher recherche rechercher copier convertir convertit changer
    modifier modifie définir définit activer active désactiver utiliser utilise enregistrer fichier fichiers dossier
    répertoire image ligne lignes commande commandes nouveau nouvelle utilisateur mot clé clés jour bonjour merci
    projet projets outil
    """,
    "es": """
    el la los las un una unos unas de del y o u en con sin por para que qué quien cual como cómo cuando donde dónde si
    sí no ni más pero sino es son está están ser estar fue ha han hay al se su sus mi mis tu tus nuestro nuestra
    nuestros lo le les me te nos yo tú él ella ellos este esta estos estas ese esa eso esto todo toda todos todas muy
    también ya sobre entre hasta desde según cada otro otra otros otras mismo muestra mostrar lista listar crea crear
    elimina eliminar borra borrar agrega agregar añade añadir ejecuta ejecutar inicia iniciar detiene detener reinicia
    instala instalar desinstala descarga descargar busca buscar abre abrir cierra cambia cambiar convierte copia
    copiar actualiza actualizar establece habilita deshabilita usa usar ver vea véase archivo archivos carpeta
    directorio imagen línea comando comandos nuevo nueva usuario contraseña gracias hola proyecto proyectos
    herramienta código abierto
    """,
    "pt": """
    o a os as um uma uns umas de do da dos das e ou em no na nos nas num numa com sem por pelo pela pelos pelas para
    que quem qual como quando onde se não nem mais mas é são está estão ser estar foi tem têm há ao aos à às seu sua
    seus suas meu minha teu nosso nossa lhe me te nós eu você ele ela eles elas este esta estes estas esse essa isso
    isto aquele tudo todo toda todos todas muito também já sobre entre até desde cada outro outra mesmo mostra mostrar
    exibe exibir exiba mostre lista listar liste cria criar crie remove remover remova apaga apagar adiciona adicionar
    adicione executa executar execute inicia iniciar inicie parar reinicia instala instalar instale baixa baixar
    procura procurar pesquisa abre abrir fecha altera alterar converte converter copia copiar atualiza atualizar
    define definir ativa desativa usa usar use veja ver arquivo arquivos ficheiro ficheiros pasta diretório diretoria
    imagem linha comando comandos novo nova usuário utilizador senha obrigado olá projeto projetos ferramenta código
    aberto faz
    """,
    "it": """
    il lo la i gli le un uno una di del dello della dei degli delle e ed o in nel nello nella nei nelle con senza per
    da dal dalla dai su sul sulla sui a al allo alla ai agli alle che chi cui come quando dove se non né più ma è sono
    sei era essere avere ha hanno ho c'è ci si suo sua suoi mio mia tuo nostro vostro loro io tu lui lei noi voi
    questo questa questi queste quello quella tutto tutti tutte molto anche già sopra tra fra fino ogni altro altra
    altri stesso mostra mostrare elenca elencare crea creare elimina eliminare cancella rimuovi rimuovere aggiungi
    aggiungere esegui eseguire avvia avviare ferma fermare riavvia installa installare disinstalla scarica scaricare
    cerca cercare apri aprire chiudi cambia cambiare converti convertire copia copiare aggiorna aggiornare imposta
    abilita disabilita usa usare vedi visualizza stampa file cartella immagine riga comando comandi nuovo nuova utente
    grazie ciao progetto progetti strumento codice
    """,
    "de": """
    der die das den dem des ein eine einen einem einer eines und oder aber in im ins an am auf aus bei beim mit nach
    von vom vor zu zum zur für über unter durch gegen ohne um bis seit zwischen während wegen ist sind war waren sein
    bin bist wird werden wurde hat haben hatte kann können muss soll will nicht kein keine keinen ich du er sie es wir
    ihr mich dich sich uns euch mein dein unser dieser diese dieses diesem diesen jeder jede jedes alle alles was wer
    wie wo wann warum wenn dass weil als ob auch noch nur schon sehr mehr hier dort dann so doch ja nein zeige zeigt
    zeigen liste listet erstelle erstellt erstellen lösche löscht löschen entferne entfernt entfernen füge führe führt
    ausführen starte startet starten stoppe stoppt installiere installiert suche sucht suchen öffne öffnet schließe
    ändere ändert ändern konvertiere konvertiert kopiere kopiert aktualisiere aktiviere deaktiviere verwende verwenden
    benutze lade siehe gib gebe setze datei dateien ordner verzeichnis bild zeile befehl befehle neu neue neuen
    benutzer passwort danke hallo projekt projekte werkzeug quelle gegebenen aller
    """,
    "nl": """
    de het een en of maar in op aan uit bij met naar van voor te tot om door over onder tegen zonder tussen tijdens is
    zijn was waren ben bent wordt worden werd heeft hebben had kan kunnen moet moeten zal zullen wil niet geen ik jij
    je hij zij ze we wij jullie hem haar hun ons mijn jouw uw onze deze dit die dat elk elke alle alles wat wie hoe
    waar wanneer waarom als dan omdat ook nog al zeer meer hier daar zo ja nee toon toont lijst maak maakt maken
    verwijder verwijdert verwijderen voeg toe voer voert uitvoeren start stop installeer installeert zoek zoekt zoeken
    open sluit wijzig wijzigt converteer converteert kopieer kopieert werk schakel gebruik gebruikt gebruiken download
    bekijk zie geef specificeer stel print bestand bestanden map afbeelding regel opdracht nieuw nieuwe gebruiker
    wachtwoord dank hallo project projecten hulpmiddel
    """,
    "ca": """
    el la els les un una uns unes de del dels d' l' i o en al als amb sense per que què qui com quan on si no ni més
    però és són està estan ser estar ha han hi es s' seu seva seus seves meu meva nostre nostra vostre jo tu ell ella
    nosaltres aquest aquesta aquests aquestes això allò tot tota tots totes molt també ja sobre entre fins des cada
    altre altra mateix mostra mostrar llista llistar crea crear elimina eliminar esborra afegeix afegir executa
    executar inicia iniciar atura reinicia descarrega baixa cerca cercar busca obre obrir tanca canvia canviar
    converteix copia copiar actualitza actualitzar estableix habilita deshabilita utilitza usa vegeu veure fitxer
    fitxers arxiu carpeta directori imatge línia ordre comanda nou nova usuari contrasenya gràcies hola projecte
    projectes eina
    """,
    "ro": """
    un o unui unei unor cel cea cei cele al a ai ale de din dintr la pe cu fără pentru prin în într că ca care ce cine
    cum când unde dacă nu nici mai dar sau și si este e sunt era fi fost are au avea am se să s sa său lui ei lor meu
    mea tău nostru eu tu el ea noi voi ele acest această acestei acestea acestor asta acesta toate toți tot foarte
    asemenea deja despre între până fiecare alt altă alte afișează afișați listează listați creează creați șterge
    ștergeți elimină adaugă adăugați execută rulează rulați pornește oprește repornește instalează instalați descarcă
    caută căutați deschide închide schimbă convertește copiază actualizează setează activează dezactivează folosește
    utilizează vezi vedeți fișier fișiere fișierul fișierele dosar director imagine linie comandă comenzi nou nouă
    utilizator parolă mulțumesc proiect proiecte proiectul instrument cod sursă aceste vă te îți
    """,
    "id": """
    yang dan di ke dari untuk dengan pada dalam oleh atau tetapi tapi jika kalau ini itu adalah ialah akan telah sudah
    belum sedang tidak bukan jangan ada bisa dapat harus juga saja lagi lebih sangat semua setiap banyak beberapa saya
    aku anda kamu dia mereka kami kita apa siapa bagaimana kapan mana mengapa karena sebagai seperti antara sebelum
    sesudah setelah tanpa hanya suatu sebuah para tampilkan menampilkan daftar buat membuat hapus menghapus tambah
    tambahkan menambahkan jalankan menjalankan mulai memulai hentikan pasang memasang unduh mengunduh cari mencari
    buka membuka tutup ubah mengubah konversi salin menyalin perbarui memperbarui atur mengatur aktifkan nonaktifkan
    gunakan menggunakan lihat melihat simpan menyimpan kirim mengirim berkas folder direktori gambar baris perintah
    baru pengguna sandi terima kasih halo proyek alat kode sumber terbuka
    """,
    "ms": """
    yang dan di ke dari daripada untuk dengan pada dalam oleh atau tetapi tapi jika kalau ini itu adalah ialah akan
    telah sudah belum sedang tidak bukan jangan ada boleh dapat harus perlu juga sahaja lagi lebih sangat semua setiap
    banyak beberapa saya aku anda kamu awak dia mereka kami kita apa siapa bagaimana bila mana mengapa kerana sebagai
    seperti antara sebelum selepas tanpa hanya suatu sebuah para paparkan senarai senaraikan buat membuat padam tambah
    tambahkan jalankan mulakan hentikan pasang muat turun cari mencari buka membuka tutup ubah tukar salin kemas kini
    gunakan menggunakan lihat simpan hantar fail direktori imej baris arahan baharu pengguna kata laluan terima kasih
    projek alat kod sumber terbuka
    """,
    "pl": """
    i oraz a ale lub albo czy że żeby aby jeśli jeżeli gdy kiedy gdzie jak co kto który która które których nie tak to
    ten ta te tego tej tych jest są był była było być będzie ma mają można może do od z ze w we na po przy przez za
    pod nad przed dla bez u o się siebie go jej jego ich mój moja twój swój nasz ja ty on ona my wy oni wszystkie
    wszystko każdy bardzo tylko także też już jeszcze więcej wyświetl wyświetla pokaż lista utwórz usuń dodaj uruchom
    zatrzymaj zainstaluj odinstaluj pobierz szukaj wyszukaj otwórz zamknij zmień konwertuj skopiuj kopiuj zaktualizuj
    ustaw włącz wyłącz użyj zobacz wypisz plik pliki plików pliku katalog katalogu folder obraz linia polecenie nowy
    nowa nowe użytkownik użytkownika hasło dziękuję projekt projektu projekty narzędzie kod program
    """,
    "cs": """
    a i ale nebo či že aby když pokud kde jak co kdo který která které jehož ne ano to ten ta tento tato toto tyto je
    jsou byl byla bylo být bude má mají může lze do od z ze s se v ve na po při přes za pod nad před pro bez u o k ke
    si ho jeho její jejich můj tvůj svůj náš já ty on ona my vy oni všechny všechno vše každý velmi jen pouze také už
    ještě více zobraz zobrazit zobrazí seznam vypiš vypsat vypíše vytvoř vytvořit vytvoří smaž smazat odstraň
    odstranit přidej přidat spusť spustit spustí zastav zastavit nainstaluj nainstalovat stáhni stáhnout hledej hledat
    otevři otevřít zavři změň změnit převeď převést zkopíruj kopírovat aktualizuj nastav nastavit povol zakaž použij
    použít viz soubor soubory souboru souborů adresář složka obrázek řádek příkaz nový nová nové uživatel heslo děkuji
    projekt projekty nástroj
    """,
    "sk": """
    a i ale alebo či že aby keď ak kde ako čo kto ktorý ktorá ktoré nie áno to ten tá tento táto toto je sú bol bola
    bolo byť bude má majú môže do od z zo s so sa v vo na po pri cez za pod nad pred pre bez u o k ku si ho jeho jej
    ich môj svoj náš ja ty on ona my vy oni všetky všetko každý veľmi len iba tiež už ešte viac zobraz zobraziť zoznam
    vytvor vytvoriť odstráň pridaj spusti zastav nainštaluj stiahni hľadaj otvor zmeň nastav použi súbor súbory
    adresár nový
    """,
    "hu": """
    a az egy és vagy de hogy ha mert mint is nem igen ne ez azt ezt ezek azok ennek annak aki ami amely amikor ahol
    hol mi mit ki kit hogyan miért van vannak volt voltak lesz lenni lehet kell csak már még nagyon több minden minél
    sok én te ő ti ők saját maga meg el fel le be át vissza után előtt alatt között nélkül szerint felett által
    listázza lista mutat megjelenít megjelenítése létrehozása létrehoz törlés törlése hozzáadása futtat futtatás indít
    indítása leállít telepít telepítése letöltés keres keresés megnyit megváltoztat konvertál másol frissít beállít
    használ használata lásd fájl fájlok könyvtár mappa kép sor parancs új felhasználó jelszó köszönöm projekt
    projektek eszköz kód nyílt forráskódú
    """,
    "tr": """
    ve veya ya da de ki bu şu o bir için ile gibi kadar daha en çok az her hiç tüm bütün bazı ne kim nasıl neden
    nerede nere zaman ben sen biz siz onlar benim senin onun bizim olan olarak olduğu var yok değil evet hayır ama
    fakat ancak çünkü eğer ise mi mı mu mü sonra önce göre üzerinde içinde altında arasında göster gösterir görüntüle
    listele listeler oluştur oluşturur sil siler ekle ekler çalıştır çalıştırır başlat başlatır durdur yükle kur kurar
    indir indirir ara arar aç açar kapat değiştir dönüştür dönüştürür kopyala güncelle ayarla etkinleştir kullan
    kullanarak bakınız ayrıca dosya dosyaları dosyayı dosyası dizin klasör resim görüntü satır komut yeni kullanıcı
    parola teşekkürler merhaba proje projeler araç kod belirli belirtilen
    """,
    "vi": """
    và của là có cho các những một được trong với không này đó để từ người khi đã sẽ đang cũng như nhưng hoặc hay nếu
    vì tôi bạn anh chị em nó họ chúng ta mình ai gì nào đâu sao thế rất nhiều ít hơn nhất lại ra vào lên xuống trên
    dưới hiển thị liệt kê tạo xóa thêm chạy bắt đầu dừng cài đặt tải tìm mở đóng đổi chép cập nhật sử dụng xem tệp thư
    mục ảnh dòng lệnh mới dùng mật khẩu cảm ơn dự án
    """,
    "sv": """
    och eller men att det den de en ett i på av för med till från om som är var vara har hade kan ska skall vill inte
    jag du han hon vi ni man sig sin sitt sina min mitt mina din ditt dina vår vårt våra denna detta dessa alla allt
    varje vad vem hur när där varför så också bara mycket mer under över mellan utan efter före genom vid visa lista
    skapa ta bort radera lägg lägga kör köra starta stoppa installera avinstallera ladda ner sök söka öppna stäng
    ändra konvertera kopiera uppdatera ange aktivera inaktivera använd använda se skriv fil filer filen mapp katalog
    bild rad kommando ny nya nytt användare lösenord tack hej projekt verktyg källkod returnera
    """,
    "da": """
    og eller men at det den de en et i på af for med til fra om som er var være har havde kan skal vil ikke jeg du han
    hun vi man sig sin sit sine min mit mine din dit dine vores denne dette disse alle alt hver hvad hvem hvordan
    hvornår hvor hvorfor så også kun meget mere under over mellem uden efter før gennem ved vis viser liste opret
    opretter slet sletter fjern fjerner tilføj tilføjer kør kører start starter stop stopper installer installerer
    hent søg søger åbn åbner luk ændr konverter konverterer kopier kopierer opdater angiv aktiver brug bruger se
    udskriv fil filer filen mappe billede linje kommando ny nye nyt adgangskode tak hej projekt værktøj kildekode
    """,
    "no": """
    og eller men at det den de en et ei i på av for med til fra om som er var være har hadde kan skal vil ikke jeg du
    han hun vi dere man seg sin sitt sine min mitt mine din ditt vår denne dette disse alle alt hver hva hvem hvordan
    når hvor hvorfor så også bare mye mer under over mellom uten etter før gjennom ved vis viser liste opprett slett
    fjern legg kjør start stopp installer last ned søk åpne lukk endre kopier oppdater bruk bruker se skriv fil filer
    mappe bilde linje kommando ny nye nytt passord takk hei prosjekt verktøy
    """,
    "fi": """
    ja tai mutta että jos kun koska kuin on ovat oli olivat olla ei eivät en et ole se ne tämä nämä tuo joka jotka
    mikä mitä kuka miten missä milloin miksi minä sinä hän me te he minun sinun hänen kaikki jokainen hyvin myös vain
    jo vielä enemmän ilman ennen jälkeen kanssa mukaan välillä näytä näyttää listaa luo luoda poista poistaa lisää
    suorita käynnistä pysäytä asenna lataa etsi hae avaa sulje muuta muunna kopioi päivitä aseta käytä katso tulosta
    tiedosto tiedostot tiedoston kansio hakemisto kuva rivi komento uusi käyttäjä käyttäjän salasana kiitos hei
    projekti työkalu lähdekoodi
    """,
    "et": """
    ja või aga et kui kus kes mis see need on oli olla ei ma sa ta me te nad oma kõik iga väga ka ainult juba veel
    rohkem ilma enne pärast koos näita loo kustuta lisa käivita peata paigalda otsi ava sulge muuda kasuta vaata fail
    uus aitäh
    """,
    "hr": """
    i ili ali da ako kad kada gdje kako što tko koji koja koje ne je su bio bila bilo biti će ima imaju može do od iz
    s sa u na po pri za pod nad pred bez o se svoj moj tvoj naš ja ti on ona mi vi oni svi sve svaki vrlo samo također
    već još više prikaži popis stvori izbriši ukloni dodaj pokreni zaustavi instaliraj preuzmi traži otvori zatvori
    promijeni kopiraj ažuriraj postavi koristi vidi datoteka datoteke datoteku mapa slika naredba novi nova korisnik
    lozinka hvala prikazuje kreira briše
    """,
    "sl": """
    in ali pa da če ko kje kako kaj kdo ki ne je so bil bila bilo biti bo ima lahko do od iz s z v na po pri za pod
    nad pred brez o se svoj moj naš jaz ti on ona mi vi vsi vse vsak zelo samo tudi že še več prikaži seznam ustvari
    izbriši odstrani dodaj zaženi ustavi namesti prenesi išči odpri zapri spremeni kopiraj posodobi uporabi glej
    datoteka nov
    """,
    "lt": """
    ir ar bet kad jei kai kur kaip kas kuris kuri ne yra buvo būti bus turi gali iki iš su be į ant po prie už per
    apie savo mano tavo mūsų aš tu jis ji mes jūs visi viskas labai tik taip pat jau dar daugiau rodyti sukurti
    ištrinti
    """,
    "lv": """
    un vai bet ka ja kad kur kā kas kurš kura ne ir bija būt būs var līdz no ar bez uz pie par savs mans tavs mūsu es
    tu viņš viņa mēs jūs visi viss ļoti tikai arī jau vēl vairāk parādīt izveidot dzēst
    """,
    "gl": """
    o a os as un unha uns unhas de do da dos das e ou en no na nos nas con sen por polo pola para que quen como cando
    onde se non máis pero é son está ser foi ten hai ao aos seu súa meu nós eu ti el ela este esta todo todos moi
    tamén xa
    """,
    "eu": """
    eta edo baina bat da dira zen ez bai hau hori hura zer nor nola non noiz ni zu gu bere nire zure guztiak oso ere
    ba sortu ezabatu gehitu erakutsi ireki fitxategi fitxategia berri erabili
    """,
    "sq": """
    dhe ose por që nëse kur ku si çfarë kush një i e të së në me pa për nga te është janë ishte ka nuk jo unë ti ai
    ajo ne ju ata këtë ky kjo gjithë shumë edhe vetëm
    """,
    "af": """
    die 'n en of maar in op aan uit by met na van vir te tot om deur oor onder is was het kan moet sal wil nie geen ek
    jy hy sy ons julle hulle dit dat wat wie hoe waar wanneer as want ook nog al baie meer
    """,
    "tl": """
    ang ng mga sa na at ay ni si kay para o pero kung kapag dahil hindi oo ako ikaw siya kami tayo kayo sila ito iyan
    iyon ano sino paano saan kailan bakit lahat lang din rin may wala
    """,
    "sw": """
    na ya wa kwa ni za la cha vya katika kama au lakini hii hiyo huu huo hayo yake wake wangu mimi wewe yeye sisi
    nyinyi wao kila sana pia tu si hapana ndiyo kuwa
    """,
    "eo": """
    la kaj aŭ sed ke se kiam kie kiel kio kiu ne jes estas estis esti al de en el por per kun sen sur sub pri mi vi li
    ŝi ĝi ni ili tiu tio ĉi ĉiuj tre nur ankaŭ jam
    """,
}

WORDS = {language: frozenset(words.split()) for language, words in _BY_LANGUAGE.items()}
"""Language code, as lid.176's, to words of that language."""
